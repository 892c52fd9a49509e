import { expect, test } from 'vitest';
import { config as common } from '../../config/common.ts';
import { makePlace } from '../support/place.ts';
import { load, overrides, problemsOf } from './support.ts';

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

const withCron = (cron: string) => overrides({ schedules: [{ script: 'scrub', args: [], cron }] });

test('a cron expression that BullMQ could not read is refused at the start, with the reason and its place', async () => {
  const wrong = ['61 99 * * *', '0 25 * * *', '0 7 * *', 'nightly', '', '0 0 31 2 *', '*/0 * * * *'];
  const schedules = wrong.map((cron) => ({ script: 'scrub', args: [], cron }));
  const problems = await problemsOf(overrides({ schedules }));
  expect(problems).toEqual(
    wrong.map((cron, at) =>
      expect.stringMatching(
        new RegExp(
          `^schedules\\.${at}\\.cron: expected a cron expression, .*, got ${JSON.stringify(cron).replaceAll('*', '\\*')}`,
        ),
      ),
    ),
  );
});

test.each([
  '0 7 * * *',
  '*/15 * * * *',
  '15,45 8-17 * * 1-5',
  '* * * * * *',
  '0 2 1 * *',
  '0 0 * * SUN',
  '@daily',
])('the cron expression %s is taken', async (cron) => {
  expect((await load(withCron(cron))).config.schedules[0]?.cron).toBe(cron);
});

test('a schedule of a script that the checkout does not have stops the start', async () => {
  const { folder } = await makePlace();
  const schedules = [
    { script: 'scrub', args: [], cron: '0 7 * * *' },
    { script: 'nosuch', args: [], cron: '0 7 * * *' },
  ];
  const problems = await problemsOf(
    { LONGSHORE_HOME: folder, ...overrides({ schedules }) },
    { places: true },
  );
  expect(problems).toEqual(['schedules.1.script: scripts/ has no nosuch.ts']);
  const both = [{ script: 'nosuch', args: [], cron: '61 99 * * *' }];
  expect(
    await problemsOf({ LONGSHORE_HOME: folder, ...overrides({ schedules: both }) }, { places: true }),
  ).toEqual([
    expect.stringContaining('schedules.0.cron: expected a cron expression'),
    'schedules.0.script: scripts/ has no nosuch.ts',
  ]);
  const outside = await problemsOf(
    overrides({ schedules: [{ ...schedules[0], script: '../workers/worker' }] }),
  );
  expect(outside).toEqual([
    expect.stringContaining('schedules.0.script: expected the name of a file in scripts/'),
  ]);
});
