import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import {
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished, expect, test } from 'vitest';
import { openStore, type Store } from '../../workers/store.ts';
import { makePlace, type Place } from '../support/place.ts';
import { until } from '../support/until.ts';

const root = join(import.meta.dirname, '../..');
const LANDINGS = 20;

/** A production process that is started again whenever it dies, as pm2 would. */
interface Kept {
  kill(): void;
  stop(): Promise<void>;
}

function keep(place: Place, name: string, script: string): Kept {
  const log = openSync(place.path(`${name}.log`), 'a');
  let stopped = false;
  let child: ChildProcess;
  let gone = Promise.resolve();
  const start = (): void => {
    child = spawn(process.execPath, [join(root, script)], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...place.env, LOG_LEVEL: 'info' },
    });
    gone = new Promise((resolve) => {
      child.once('exit', () => {
        if (!stopped) start();
        resolve();
      });
    });
  };
  start();
  return {
    kill: () => void child.kill('SIGKILL'),
    stop: async () => {
      stopped = true;
      child.kill('SIGTERM');
      await gone;
    },
  };
}

function makeDataset(folder: string, number: number): void {
  mkdirSync(join(folder, 'reads', 'deep er'), { recursive: true });
  mkdirSync(join(folder, 'empty folder'));
  writeFileSync(join(folder, 'empty'), '');
  writeFileSync(join(folder, 'reads', 'odd \'name\'\n"x".'), randomBytes(100 + number));
  for (let i = 0; i < 20; i++)
    writeFileSync(join(folder, 'reads', 'deep er', `${i}.bin`), randomBytes(randomInt(60_000)));
  writeFileSync(join(folder, 'large.bin'), randomBytes(24 * 1024 ** 2));
  symlinkSync('large.bin', join(folder, 'link'));
}

/** Pids of task children that are running now, by the records. */
async function children(store: Store): Promise<number[]> {
  const { results } = await store.records.listWorkflows({ status: 'STARTED', limit: 100 });
  const runs = results.flatMap(({ last_runs }) => last_runs.filter((run) => run?.status === 'STARTED'));
  const attempts = await Promise.all(runs.map((run) => store.records.attempts(run?._id ?? '')));
  return attempts.flatMap((list) =>
    list.filter((one) => one.date_end === null && one.pgid !== null).map((one) => one.pgid as number),
  );
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // It has ended by itself meanwhile.
  }
}

/** The server itself; the app that started it ends with it, and is started again. */
function killRedis(place: Place): void {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1');
      if (command.startsWith('redis-server') && readlinkSync(`/proc/${pid}/cwd`).startsWith(place.folder)) {
        killIfThere(Number(pid));
      }
    } catch (error) {
      // It has ended meanwhile, or is somebody else's.
      if (!['ENOENT', 'ESRCH', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
}

test(`${LANDINGS} landings arrive once and byte-identical while worker, child, watcher and Redis are killed at random`, {
  timeout: 300_000,
}, async () => {
  const place = await makePlace({
    workflow: { max_losses: 1000 },
    registration: { full_scan_every_n_scans: 5 },
  });
  place.env.REDIS_URL = ''; // A Redis of its own, to be killed like the others.
  const source = place.dir('data', 'source', 'raw_data');
  const store = await openStore(place.config);
  const redis = keep(place, 'redis', 'scripts/redis.ts');
  const [worker, watcher] = [
    keep(place, 'worker', 'workers/worker.ts'),
    keep(place, 'watch', 'scripts/watch.ts'),
  ];
  onTestFinished(async () => {
    await Promise.all([worker.stop(), watcher.stop()]);
    await redis.stop();
    await store.close();
  });
  for (let i = 0; i < LANDINGS; i++) {
    makeDataset(place.path('made', `run ${i}`), i);
    renameSync(place.path('made', `run ${i}`), join(source, `run ${i}`));
  }

  const done = async (): Promise<number> => (await store.records.countWorkflows(place.config.app_id)).SUCCESS;
  let kills = 0;
  for (const deadline = Date.now() + 40_000; Date.now() < deadline && (await done()) < LANDINGS; ) {
    await sleep(randomInt(100, 1500)); // The moment of the kill is what varies; nothing waits on it.
    const victim = randomInt(5);
    if (victim === 0) worker.kill();
    else if (victim === 1) watcher.kill();
    else if (victim === 2) killRedis(place);
    else (await children(store)).slice(0, 1).forEach(killIfThere);
    kills += 1;
  }
  expect(kills).toBeGreaterThan(5);
  await until(async () => (await done()) === LANDINGS, { ms: 120_000, what: 'every workflow to succeed' });

  const { datasets, count } = await store.catalog.list({});
  expect(count).toBe(LANDINGS);
  for (const { id, staged_path, archive_path, origin_path, name } of datasets) {
    const { workflows, states } = await store.catalog.get(id, { workflows: true, states: true });
    expect(workflows, name).toHaveLength(1);
    expect(states?.map(({ state }) => state).toReversed(), name).toEqual([
      'REGISTERED',
      'READY',
      'ARCHIVED',
      'FETCHED',
      'STAGED',
    ]);
    execFileSync('diff', ['-r', '--no-dereference', origin_path, staged_path ?? '']);
    mkdirSync(place.path('extracted', name), { recursive: true });
    execFileSync('tar', ['xf', archive_path ?? '', '-C', place.path('extracted', name)]);
    execFileSync('diff', ['-r', '--no-dereference', origin_path, place.path('extracted', name)]);
  }
  // The one hidden file that belongs: the sentinel by which an unmounted archive is told from an empty one.
  const litter = execFileSync(
    'find',
    [place.path('data'), '-name', '.*', '!', '-name', '.longshore-archive'],
    { encoding: 'utf8' },
  );
  expect(litter).toBe('');
  const archived = execFileSync('find', [place.path('data', 'archive'), '-type', 'f', '!', '-name', '.*'], {
    encoding: 'utf8',
  })
    .trim()
    .split('\n');
  expect(archived).toHaveLength(2 * LANDINGS); // A bundle and its manifest each.
  expect(readdirSync(place.path('data', 'downloads'))).toHaveLength(2 * LANDINGS);
  const generated = ['-path', '*/generation/*', '-type', 'f'];
  expect(execFileSync('find', [place.path('data'), ...generated], { encoding: 'utf8' })).toBe('');
});
