import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { Fleet } from './fleet.ts';
import { type HostName, makeNamespaces } from './namespaces.ts';
import { until } from './until.ts';

export { canMakeHosts } from './namespaces.ts';

const root = join(import.meta.dirname, '../..');

/** Two machines as far as the kernel can make them of one: network, host name and processes of their own; files are shared. */
export interface Hosts {
  /** Starts a worker there, and waits until it is ready; what it has logged so far. */
  worker(host: HostName): Promise<{ log(): string }>;
  /** `longshore …` on that host. */
  longshore(host: HostName, args: readonly string[]): Promise<{ code: number | null; stdout: string }>;
  /** Nothing comes through any more, in either direction, and nobody is told. */
  cut(host: HostName): void;
  heal(host: HostName): void;
}

/** `redis`: one of the test's own, which the two hosts see under different addresses; the fleet's place names it in `queue.url`. */
export async function makeHosts(fleet: Fleet, redis: string): Promise<Hosts> {
  const spaces = await makeNamespaces(redis);
  const children: ChildProcess[] = [];
  onTestFinished(async () => {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map(gone));
    spaces.remove();
  });
  const on = (host: HostName, script: string, args: readonly string[]) => {
    const command = [process.execPath, join(root, script), ...args];
    const [file = '', ...words] = spaces.on(host, command, { alone: true });
    const env = {
      ...process.env,
      ...fleet.place.env,
      LONGSHORE_OVERRIDES: fleet.place.env.LONGSHORE_OVERRIDES?.replace(redis, spaces.seenFrom(host, redis)),
      LOG_LEVEL: 'info',
      LONGSHORE_TASKS_PATH: join(root, 'tests/fixtures/tasks'),
    };
    return { file, words, env };
  };
  return {
    worker: async (host) => {
      const log_file = fleet.place.path(`${host}.log`);
      const out = openSync(log_file, 'a');
      const { file, words, env } = on(host, 'workers/worker.ts', []);
      children.push(spawn(file, words, { env, stdio: ['ignore', out, out] }));
      const log = (): string => readFileSync(log_file, 'utf8');
      await until(() => log().includes('worker ready'), { what: `the worker of ${host}` });
      return { log };
    },
    longshore: async (host, args) => {
      const { file, words, env } = on(host, 'scripts/longshore.ts', args);
      const child = spawn(file, words, { env, stdio: ['ignore', 'pipe', 'inherit'] });
      let stdout = '';
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
      const code = await new Promise<number | null>((end) => child.once('close', end));
      return { code, stdout };
    },
    cut: (host) => spaces.cut(host),
    heal: (host) => spaces.heal(host),
  };
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}
