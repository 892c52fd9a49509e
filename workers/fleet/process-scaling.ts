/** More or fewer worker processes on this host, by hand or by queue age; whoever has to go ends its jobs first. */
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { rememberScale } from '../queue/scale-history.ts';
import { type Keeper, type KeptProcess, pm2Keeper } from './pm2.ts';

export interface HostParts {
  config: Config;
  redis: Redis;
  host: string;
  log: Logger;
  keeper?: Keeper;
}

export interface ScaleOutcome {
  from: number;
  to: number;
  /** Process ids that take no more jobs, and leave when theirs have ended. */
  draining: number[];
}

/** Statuses of pm2 in which a worker is there or will be. One that stays down is shown as waiting, with the process 0. */
const PRESENT: ReadonlySet<string> = new Set(['online', 'launching']);

const drainingKey = ({ config, host }: Pick<HostParts, 'config' | 'host'>): string =>
  `${config.queue.prefix}:${config.app_id}:draining:${host}`;

/**
 * @param wanted given how many take jobs now
 * @throws E_NO_WORKER when pm2 keeps no worker here
 */
export async function scaleProcesses(
  parts: HostParts,
  wanted: (working: number) => number,
  reason: string,
  { dry_run = false } = {},
): Promise<ScaleOutcome> {
  const { redis, keeper = pm2Keeper, host, config, log } = parts;
  if (!dry_run) await forgetDrained(parts);
  const leaving = await drainingOf(parts);
  const working = (await keeper.workers()).filter(
    ({ status, pid }) => PRESENT.has(status) && !leaving.includes(pid),
  );
  const [from, to] = [working.length, wanted(working.length)];
  const outcome: ScaleOutcome = { from, to, draining: newestBeyond(working, to).map(({ pid }) => pid) };
  if (dry_run || from === to) return outcome;
  if (to > from) await keeper.add(to - from);
  for (const { pid, pm_id } of newestBeyond(working, to)) {
    await redis.sadd(drainingKey(parts), `${pid} ${pm_id}`);
    signal(pid, 'SIGUSR2');
  }
  const action = to > from ? 'grow' : 'shrink';
  log.info({ action, from, to, reason }, 'worker processes changed');
  const at = new Date().toISOString();
  await rememberScale(redis, config, { at, who: host, of: 'processes', action, from, to, reason });
  return outcome;
}

/** Newest first: the older ones have shown that they work. */
export const newestBeyond = (working: readonly KeptProcess[], count: number): KeptProcess[] =>
  working.toSorted((one, other) => other.pm_id - one.pm_id).slice(0, Math.max(0, working.length - count));

/** Those that were told to drain and still live. */
export async function drainingOf(parts: HostParts): Promise<number[]> {
  const pids = (await parts.redis.smembers(drainingKey(parts))).map((text) => Number(text.split(' ')[0]));
  return pids.filter((pid) => signal(pid, 0));
}

/** What has drained leaves pm2's list; else a `pm2 restart all` would bring it back. */
export async function forgetDrained(parts: HostParts): Promise<void> {
  const { redis, keeper = pm2Keeper } = parts;
  const key = drainingKey(parts);
  const gone = (await redis.smembers(key)).filter((text) => !signal(Number(text.split(' ')[0]), 0));
  if (gone.length === 0) return;
  const kept = new Map((await keeper.workers()).map((one) => [one.pm_id, one]));
  for (const text of gone) {
    const [pid, pm_id] = text.split(' ').map(Number) as [number, number];
    const found = kept.get(pm_id);
    if (found?.pid === pid) continue; // pm2 has not noticed its end yet.
    // By number: pm2 keeps no exit code of what it does not start again. A number that runs again is somebody's wish.
    if (found !== undefined && !PRESENT.has(found.status)) await keeper.forget(pm_id);
    await redis.srem(key, text);
  }
}

/** False when there is no such process. */
function signal(pid: number, name: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
