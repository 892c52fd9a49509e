import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { makePlace } from '../support/place.ts';
import { COMPILE_CACHE, processesWith } from '../support/processes.ts';
import { until } from '../support/until.ts';

const root = join(import.meta.dirname, '../..');
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

interface App {
  name: string;
  pid: number;
  pm2_env: { status: string; restart_time: number };
}

test('under pm2 a worker that is told to leave stays down, and comes back where it is told to', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace({
    workers: {
      worker: { instances: 2 },
      tape: { queues: ['{app_id}.tape'] },
      spare: { queues: ['x'], instances: 0 },
    },
  });
  const env: NodeJS.ProcessEnv = {
    ...place.env,
    ...COMPILE_CACHE,
    PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
    HOME: place.folder,
    PM2_HOME: place.path('pm2'),
  };
  const run = (program: string, args: string[]) =>
    spawnSync(program, args, { cwd: root, env, encoding: 'utf8' });
  const pm2 = (...args: string[]) => run(bin('pm2'), args);
  const longshore = (...args: string[]) =>
    run(process.execPath, [join(root, 'scripts/longshore.ts'), ...args]);
  onTestFinished(() => void pm2('kill'));
  const started = pm2('start', 'ecosystem.config.js', '--only', 'worker,tape');
  expect(started.status, started.stdout + started.stderr).toBe(0);
  const apps = (name: string): App[] =>
    (JSON.parse(pm2('jlist').stdout.replace(/^[^[]*/, '')) as App[]).filter((app) => app.name === name);
  // None as well while the first worker has yet to make the catalog.
  const workers = () =>
    (JSON.parse(longshore('fleet', '--json').stdout).workers ?? []) as {
      name: string;
      host: string;
      pid: number;
      seat: string;
      state: string;
      queues: { queue: string }[];
    }[];
  await until(() => workers().length === 3, { what: 'three workers' });
  expect(apps('spare')).toEqual([]);
  const tape = workers().find(({ name }) => name.includes('-tape@'));
  expect(tape?.queues.map(({ queue }) => queue)).toEqual(['longshore-test.tape']);

  const up = longshore('scale', '2', '--app', 'tape', '--dry-run', '--json');
  expect(JSON.parse(up.stdout), up.stderr).toMatchObject({ from: 1, to: 2 });
  const missing = longshore('scale', '2', '--app', 'spare');
  expect(missing.stderr).toContain('E_NO_WORKER');
  expect(missing.stderr).toContain('pm2 keeps no app "spare" on this host, but worker, tape');
  expect(longshore('scale', '2', '--app', 'watcher').stderr).toContain('not in config.workers');

  expect(longshore('shutdown', tape?.name ?? '').status).toBe(0);
  // With a growing restart delay pm2 shows `waiting restart` for what it will not restart; its process id says the truth.
  await until(() => apps('tape')[0]?.pid === 0, { what: 'the tape worker to be down' });
  const [before] = apps('worker');
  const again = `${tape?.host}:${before?.pid}`;
  expect(longshore('shutdown', again, '--restart').status).toBe(0);
  await until(() => apps('worker').some(({ pm2_env }) => pm2_env.restart_time === 1), {
    what: 'the restart',
  });
  await until(() => workers().length === 2, { what: 'both to be listed again' });
  expect(workers().map(({ pid }) => pid)).not.toContain(before?.pid);
  expect(apps('tape')[0]).toMatchObject({ pid: 0, pm2_env: { restart_time: 0 } });

  // Drained for maintenance, it stays so when pm2 starts it again, under another process id.
  const kept = workers().find(({ name }) => name.includes('-worker@'));
  expect(longshore('drain', kept?.name ?? '').status).toBe(0);
  const seat = workers().find(({ name }) => name === kept?.name)?.seat ?? '';
  expect(JSON.parse(longshore('fleet', '--json').stdout).drained_workers).toEqual([seat]);
  pm2('restart', 'worker');
  await until(() => workers().filter(({ pid }) => pid !== kept?.pid).length === 2, { what: 'both again' });
  const states = () => Object.fromEntries(workers().map((one) => [one.seat, one.state]));
  expect(Object.values(states()).toSorted()).toEqual(['draining', 'working']);
  expect(states()[seat]).toBe('draining');
  const again_pid = workers().find((one) => one.seat === seat)?.pid;
  expect(longshore('undrain', `${kept?.host}:${again_pid}`).status).toBe(0);
  expect(states()[seat]).toBe('working');
  expect(JSON.parse(longshore('fleet', '--json').stdout).drained_workers).toEqual([]);

  pm2('restart', 'tape');
  await until(() => workers().length === 3, { what: 'the tape worker to be back' });
  expect(longshore('shutdown', 'all').status).toBe(0);
  await until(() => workers().length === 0, { what: 'all to leave' });
  expect(longshore('fleet').stdout).toContain(
    '`npx pm2 restart worker` starts those that were told to leave',
  );
  pm2('kill');
  await until(() => processesWith(place.folder).length === 0, { what: 'all processes gone' });
});
