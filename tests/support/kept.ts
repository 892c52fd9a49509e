import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { makeFleet } from './fleet.ts';
import { COMPILE_CACHE, processesWith } from './processes.ts';
import { until } from './until.ts';

const root = join(import.meta.dirname, '../..');

/** The test's own pm2 with workers on the test's own queue. */
export async function makeKept(overrides: Record<string, unknown>) {
  const fleet = await makeFleet({ autoscale: { min: 1, max: 1 }, ...overrides });
  const { place } = fleet;
  const env = {
    ...place.env,
    ...COMPILE_CACHE,
    PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
    HOME: place.folder,
    PM2_HOME: place.path('pm2'),
    LONGSHORE_TASKS_PATH: join(root, 'tests/fixtures/tasks'),
  };
  const run = (program: string, ...args: string[]) =>
    spawnSync(program, args, { cwd: root, env, encoding: 'utf8' });
  const pm2 = (...args: string[]) => run(join(root, 'node_modules/.bin/pm2'), ...args);
  const longshore = (...args: string[]) => run(process.execPath, join(root, 'scripts/longshore.ts'), ...args);
  onTestFinished(async () => {
    pm2('kill');
    await until(() => processesWith(place.path('pm2')).length === 0, { what: 'all processes gone' });
  });
  const started = pm2('start', 'ecosystem.config.js', '--only', 'worker');
  expect(started.status, started.stdout + started.stderr).toBe(0);
  const workers = (): { pm_id: number; pid: number; status: string }[] =>
    (
      JSON.parse(pm2('jlist').stdout.replace(/^[^[]*/, '')) as {
        pm_id: number;
        pid: number;
        pm2_env: { status: string };
      }[]
    ).map(({ pm_id, pid, pm2_env }) => ({ pm_id, pid, status: pm2_env.status }));
  const log = (): string => {
    const file = place.path('log/worker.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const ready = (count: number) =>
    until(() => log().split('worker ready').length - 1 >= count, { what: `${count} workers to be ready` });
  return { fleet, pm2, longshore, workers, log, ready };
}
