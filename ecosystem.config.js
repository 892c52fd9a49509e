/**
 * pm2's view of a node of the fleet. `npm start` runs it in the foreground, `pm2 start ecosystem.config.js` in the
 * background. Plain JavaScript for whatever Node pm2 itself runs on; the apps run on the project's own.
 *
 * pm2 picks up `export const apps` of an ES module, not a default export.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(fileURLToPath(import.meta.url));
const pinned = join(root, 'node_modules/.bin/node');
const interpreter = existsSync(pinned) ? pinned : process.execPath;

/**
 * Asked of the configuration itself, so that pm2 and the apps cannot disagree; its problems stop the start here. Once for
 * all keys: each question is a process.
 */
function configuredValues() {
  const args = [join(root, 'scripts/config.ts'), '--json'];
  const { status, stdout, stderr } = spawnSync(interpreter, args, { encoding: 'utf8' });
  if (status === 0) return JSON.parse(stdout).values;
  if (status !== 78) throw new Error(`${stderr}\nIs everything set up? sh scripts/setup.sh`);
  const { code, message, hint } = JSON.parse(stdout).error;
  throw new Error(`${code}: ${message}\n${hint}`);
}

const values = configuredValues();
const configured = (wanted) => values.find(({ key }) => key === wanted).value;

const state_dir = configured('state_dir');
const logs = join(state_dir, 'log');

const app = (name, script, { env, ...more } = {}) => ({
  name,
  // Relative to cwd: a path with a blank in it would be taken for a command line and given to a shell.
  script,
  cwd: root,
  interpreter,
  // A start takes half the time where compiled and type-stripped code is kept; the processes of tasks use the same.
  env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE || join(state_dir, 'cache', 'node'), ...env },
  // Cluster mode, pm2's default for scripts, ignores the interpreter.
  exec_mode: 'fork',
  watch: false,
  error_file: join(logs, `${name}.err`),
  out_file: join(logs, `${name}.log`),
  merge_logs: true,
  log_date_format: 'YYYY-MM-DD HH:mm Z',
  exp_backoff_restart_delay: 100,
  // The delay grows to 15 s. With a handful of restarts, a file system that is slow to mount would end a worker for good.
  max_restarts: 1_000_000,
  // EX_CONFIG, EX_USAGE: the next start would end the same way. 79: a worker was told to leave and stay down.
  stop_exit_codes: [78, 2, 79],
  kill_timeout: 10_000,
  // Else pm2 interrupts the whole tree at once: running tasks, and the Redis that their jobs are to be handed back to.
  treekill: false,
  ...more,
});

/** `workers.NAME.queues` and `workers.NAME.instances` as name and number of processes. */
function workerApps() {
  const leaves = values
    .filter(({ key }) => key.startsWith('workers.'))
    .map(({ key, value }) => [...key.split('.').slice(1), value]);
  const names = [...new Set(leaves.map(([name]) => name))];
  return names.map((name) => {
    const own = leaves.find(([other, part]) => other === name && part === 'instances')?.[2];
    if (name !== 'worker') return [name, own ?? 1];
    // Of the usual app as many as the host says (LONGSHORE_WORKERS), if it does.
    return [name, configured('instances.start') ?? own ?? configured('instances.min')];
  });
}

export const apps = [
  ...workerApps()
    .filter(([, instances]) => instances > 0)
    .map(([name, instances]) =>
      app(name, 'workers/worker.ts', { instances, env: { LONGSHORE_WORKER: name } }),
    ),
  // Not `watch`: pm2 keeps an app's own variables under its name, and would read that one as its file watching option.
  app('watcher', 'scripts/watch.ts'),
  // The workflow server, for a facility whose API starts workflows here.
  ...(configured('gateway.enabled') ? [app('gateway', 'scripts/gateway.ts')] : []),
  // Last, because pm2 stops in this order and workers hand their jobs back to it. At a start, the others wait for it.
  ...(configured('queue.url') === null ? [app('redis', 'scripts/redis.ts', { kill_timeout: 15_000 })] : []),
];
