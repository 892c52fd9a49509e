import { expect, test } from 'vitest';
import { config as common } from '../../config/common.ts';
import { makePlace } from '../support/place.ts';

const UPLOADS = ['manage_upload_workflows', 'purge_stale_uploaded'];

test('uploads have their schedules only where the catalog is the REST API', async () => {
  const schedules = common.schedules;
  const rest = { backend: 'rest' };
  const api = { base_url: 'http://127.0.0.1:9/', auth_token: 'x' };
  const off = (await makePlace({ schedules })).config.schedules.map(({ script }) => script);
  const on = (await makePlace({ schedules, catalog: rest, api })).config.schedules;
  expect(off.filter((script) => UPLOADS.includes(script))).toEqual([]);
  expect(off.length).toBeGreaterThan(0);
  expect(on.map(({ script }) => script)).toEqual([...off, ...UPLOADS]);
  expect(on.slice(-2)).toMatchObject([
    { args: ['--max-retries=3'], cron: '* * * * *' },
    { args: ['--ttl-days=14', '--stale-uploading-days=14'], cron: '15 7 * * *' },
  ]);
});
