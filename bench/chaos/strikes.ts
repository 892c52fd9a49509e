import { setTimeout as sleep } from 'node:timers/promises';
import type { Processes } from '../../scripts/demo/processes.ts';
import { childrenOf, signal } from './processes.ts';
import type { Random } from './random.ts';

export type Victim = 'worker' | 'frozen worker' | 'child' | 'watcher' | 'redis' | 'redis app';

export interface Strikes {
  /** How often each was hit. */
  readonly hits: Readonly<Record<Victim, number>>;
  /** No strike after this; what was frozen goes on. */
  stop(): Promise<void>;
}

export interface StrikeOptions {
  readonly processes: Processes;
  readonly workers: readonly string[];
  readonly random: Random;
  /** Mean time between two strikes. */
  readonly every_ms: number;
  /** How long a frozen worker stands still: longer than its lease lasts. */
  readonly freeze_ms: number;
  readonly tell: (line: string) => void;
}

/** Children are many and die cheaply; a frozen worker holds up its jobs for a whole lease. */
const LOT: readonly Victim[] = [
  ...Array<Victim>(4).fill('worker'),
  ...Array<Victim>(6).fill('child'),
  ...Array<Victim>(3).fill('watcher'),
  ...Array<Victim>(3).fill('redis'),
  'redis app',
  'frozen worker',
];

/** What a run must have killed whatever the lot says. */
const OWED: readonly Victim[] = ['worker', 'child', 'watcher'];

/** Kills with SIGKILL, at random, until it is stopped; first of all, each once, those that are owed. */
export function beginStrikes(options: StrikeOptions): Strikes {
  const { processes, workers, random, every_ms, freeze_ms, tell } = options;
  const hits: Record<Victim, number> = {
    worker: 0,
    'frozen worker': 0,
    child: 0,
    watcher: 0,
    redis: 0,
    'redis app': 0,
  };
  const stopping = new AbortController();
  const frozen = new Set<number>();

  const pidOf = (victim: Victim): number | null => {
    if (victim === 'watcher') return processes.pid('watcher');
    const redis = processes.pid('redis');
    if (victim === 'redis app') return redis;
    if (victim === 'redis') return redis === null ? null : (childrenOf(redis, /^redis-server/)[0] ?? null);
    if (victim === 'child') return random.pick(tasks()) ?? null;
    return processes.pid(random.pick(workers) ?? '');
  };
  const tasks = (): number[] =>
    workers.flatMap((name) => {
      const worker = processes.pid(name);
      return worker === null ? [] : childrenOf(worker, /task-process\.ts/);
    });
  /** One that is owed and lives now, else whom the lot names. */
  const pick = (): Victim => {
    const owed = OWED.filter((victim) => hits[victim] === 0 && pidOf(victim) !== null);
    return random.pick(owed.length > 0 ? owed : LOT) as Victim;
  };
  const strike = (): void => {
    const victim = pick();
    const pid = pidOf(victim);
    if (pid === null) return;
    if (victim === 'frozen worker') {
      if (!signal(pid, 'SIGSTOP')) return;
      frozen.add(pid);
      setTimeout(() => thaw(pid), freeze_ms).unref();
    } else if (!signal(pid, 'SIGKILL')) return;
    hits[victim] += 1;
    tell(`${victim} (${pid})`);
  };
  const thaw = (pid: number): void => {
    if (frozen.delete(pid)) signal(pid, 'SIGCONT');
  };
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const pause = random.between(0.1, 1.9) * every_ms;
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => undefined);
      if (!stopping.signal.aborted) strike();
    }
    for (const pid of frozen) thaw(pid);
  };
  const running = run();
  return {
    hits,
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

/** Kills Redis, and nothing else, every so many seconds until it is stopped. */
export function beginRestarts(
  processes: Processes,
  random: Random,
  [least_s, most_s]: readonly [number, number],
): { readonly restarts: number; stop(): Promise<void> } {
  const stopping = new AbortController();
  let restarts = 0;
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const pause = random.between(least_s, most_s) * 1000;
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => undefined);
      const app = processes.pid('redis');
      const server = app === null ? undefined : childrenOf(app, /^redis-server/)[0];
      if (!stopping.signal.aborted && server !== undefined && signal(server, 'SIGKILL')) restarts += 1;
    }
  };
  const running = run();
  return {
    get restarts() {
      return restarts;
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}
