/** More or fewer worker processes on this host, by hand or by queue age; whoever has to go ends its jobs first. */
import type { Redis } from 'ioredis';
import type { Config } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { createRegistry } from '../../queue/registry.ts';
import { rememberScale } from '../../queue/scale-history.ts';
import { type Keeper, type KeptProcess, pm2Keeper } from './pm2.ts';
import { startOf } from '../../process-start.ts';
import { USUAL_APP } from '../routing.ts';

export interface HostParts {
  config: Config;
  redis: Redis;
  host: string;
  log: Logger;
  /** Of config.workers; default: the usual one. */
  app?: string;
  keeper?: Keeper;
}

export interface ScaleOutcome {
  from: number;
  to: number;
  /** Process ids that take no more jobs, and leave when theirs have ended. */
  draining: number[];
  /** Process ids of those that had not begun to work yet, and are gone. */
  removed: number[];
}

/** Statuses of pm2 in which a worker is there or will be. One that stays down is shown as waiting, with the process 0. */
const PRESENT: ReadonlySet<string> = new Set(['online', 'launching']);

const drainingKey = ({ config, host }: Pick<HostParts, 'config' | 'host'>): string =>
  `${config.queue.prefix}:${config.app_id}:draining:${host}`;

/** A worker that starts tells of itself within this time. */
const STARTS_WITHIN_MS = 60_000;

/**
 * @param wanted given how many take jobs now
 * @throws E_NO_WORKER when pm2 keeps no worker of the app here
 */
export async function scaleProcesses(
  parts: HostParts,
  wanted: (working: number) => number,
  reason: string,
  { dry_run = false } = {},
): Promise<ScaleOutcome> {
  const { keeper = pm2Keeper, app = USUAL_APP } = parts;
  if (!dry_run) await forgetDrained(parts);
  const leaving = await drainingOf(parts);
  const working = (await keptOf(keeper, app)).filter(
    ({ status, pid }) => PRESENT.has(status) && !leaving.includes(pid),
  );
  const [from, to] = [working.length, wanted(working.length)];
  const { begun, starting } = await byStart(parts, newestBeyond(working, to));
  const outcome: ScaleOutcome = {
    from,
    to,
    draining: begun.map(({ pid }) => pid),
    removed: starting.map(({ pid }) => pid),
  };
  if (dry_run || from === to) return outcome;
  if (to > from) await keeper.add(app, to - from);
  for (const one of begun) await drain(parts, one);
  // A Node that has not read our handlers yet is killed by the signal, and pm2 would start it again.
  for (const { pm_id } of starting) await keeper.forget(pm_id);
  await tell(parts, { from, to, reason });
  return outcome;
}

async function keptOf(keeper: Keeper, app: string): Promise<KeptProcess[]> {
  const all = await keeper.list();
  const kept = all.filter(({ name }) => name === app);
  if (kept.length > 0) return kept;
  const others = [...new Set(all.map(({ name }) => name))].join(', ') || 'nothing';
  throw new LongshoreError('E_NO_WORKER', `pm2 keeps no app "${app}" on this host, but ${others}`, {
    hint: `Start it with \`npx pm2 start ecosystem.config.js --only ${app}\`, or name another app with --app.`,
  });
}

/** Who is not in the registry and was just started has no job, and no ear for an order either. */
async function byStart(
  { config, redis, host }: HostParts,
  chosen: readonly KeptProcess[],
): Promise<{ begun: KeptProcess[]; starting: KeptProcess[] }> {
  if (chosen.length === 0) return { begun: [], starting: [] };
  const here = (await createRegistry(config, redis).list()).filter((worker) => worker.host === host);
  const begun = chosen.filter(
    ({ pid, started_at }) =>
      here.some((worker) => worker.pid === pid) || Date.now() - started_at > STARTS_WITHIN_MS,
  );
  return { begun, starting: chosen.filter((one) => !begun.includes(one)) };
}

async function drain(parts: HostParts, { pid, pm_id }: KeptProcess): Promise<void> {
  await parts.redis.sadd(drainingKey(parts), `${pid} ${pm_id} ${startOf(pid) ?? ''}`);
  signalTo(pid, 'SIGUSR2');
}

async function tell(
  { app = USUAL_APP, config, host, log, redis }: HostParts,
  { from, to, reason }: { from: number; to: number; reason: string },
): Promise<void> {
  const action = to > from ? 'grow' : 'shrink';
  log.info({ action, app, from, to, reason }, 'worker processes changed');
  const who = app === USUAL_APP ? host : `${app}@${host}`;
  const at = new Date().toISOString();
  await rememberScale(redis, config, { at, who, of: 'processes', action, from, to, reason });
}

/** Newest first: the older ones have shown that they work. */
export const newestBeyond = (working: readonly KeptProcess[], count: number): KeptProcess[] =>
  working.toSorted((one, other) => other.pm_id - one.pm_id).slice(0, Math.max(0, working.length - count));

/** Those that were told to drain and still live. */
export async function drainingOf(parts: HostParts): Promise<number[]> {
  const told = await parts.redis.smembers(drainingKey(parts));
  return told.filter(lives).map((text) => Number(text.split(' ')[0]));
}

/** What has drained leaves pm2's list; else a `pm2 restart all` would bring it back. */
export async function forgetDrained(parts: HostParts): Promise<void> {
  const { redis, keeper = pm2Keeper } = parts;
  const key = drainingKey(parts);
  const gone = (await redis.smembers(key)).filter((text) => !lives(text));
  if (gone.length === 0) return;
  const kept = new Map((await keeper.list()).map((one) => [one.pm_id, one]));
  for (const text of gone) {
    const [pid, pm_id] = text.split(' ').map(Number) as [number, number];
    const found = kept.get(pm_id);
    if (found?.pid === pid) continue; // pm2 has not noticed its end yet.
    // By number: pm2 keeps no exit code of what it does not start again. A number that runs again is somebody's wish.
    if (found !== undefined && !PRESENT.has(found.status)) await keeper.forget(pm_id);
    await redis.srem(key, text);
  }
}

/** After a reboot, or some days, its number may be another's: of a new worker, which would count as one that leaves for ever. */
function lives(told: string): boolean {
  const [pid = '', , start] = told.split(' ');
  return startOf(Number(pid)) === start;
}

function signalTo(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended by itself.
  }
}
