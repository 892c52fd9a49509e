import { existsSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { runScript, startScript } from '../support/script.ts';
import { until } from '../support/until.ts';

test('WORKER_TYPE decides what it becomes, by the names of the reference; anything else ends with 1', async () => {
  const place = await makePlace();
  const run = (WORKER_TYPE: string | undefined, ...args: string[]) =>
    runScript('entrypoint.ts', args, { ...place.env, WORKER_TYPE });
  const dry = await run('celery_worker', '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toEqual({
    dry_run: true,
    type: 'celery_worker',
    file: 'workers/worker.ts',
  });
  for (const type of ['celery', 'constructor', '', undefined])
    expect(await run(type)).toMatchObject({ code: 1, stderr: expect.stringContaining('celery_worker') });
  await (await openStore(place.config)).close();
  const done = await run('purge_stale_workflows');
  expect(done).toMatchObject({ code: 5, stderr: expect.stringContaining('nothing was purged') });
});

test('behind the API it waits until .env holds the token', async () => {
  const place = await makePlace();
  const LONGSHORE_OVERRIDES = JSON.stringify({
    ...(JSON.parse(place.env.LONGSHORE_OVERRIDES ?? '{}') as object),
    catalog: { backend: 'rest' },
    api: { base_url: 'http://127.0.0.1:9/' },
  });
  const file = place.path('container.env');
  writeFileSync(file, 'APP_API_TOKEN=\n');
  const env = { ...place.env, LONGSHORE_OVERRIDES, LONGSHORE_DOTENV: file, WORKER_TYPE: 'watch' };
  const started = startScript('entrypoint.ts', [], env);
  await until(() => started.stderr().includes('waiting until .env holds it'), { what: 'it to wait' });
  expect(existsSync(place.config.catalog.path)).toBe(false);
  writeFileSync(file, 'APP_API_TOKEN=secret\n');
  const said = (): string => started.stdout() + started.stderr();
  await until(() => said().includes('"name":"watch'), { what: 'the watcher to speak' });
  started.kill('SIGTERM');
  expect((await started.ended).code).toBe(0);
});
