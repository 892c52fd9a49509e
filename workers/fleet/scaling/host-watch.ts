/** The workers of a host under pm2 tell each other what they do; one of them decides how many there should be. */
import type { Redis } from 'ioredis';
import type { QueueSide } from '../../queue/side.ts';
import { troubleTeller } from '../../trouble.ts';
import { takeLock } from '../../queue/token-lock.ts';
import { readPressure } from './pressure.ts';
import { ageOf, decideProcesses, NO_PROCESS_MEMORY, stillWaiting } from './processes.ts';
import { repeat, type Repetition } from '../repeat.ts';
import type { ServedQueue } from '../routing.ts';
import { forgetDrained, type HostParts, scaleProcesses } from './process-scaling.ts';

const LOOK_EVERY_SECONDS = 5;
/** Who decides keeps that for as long as it comes back; what a worker told counts for as long. */
const TURN_MS = 3 * LOOK_EVERY_SECONDS * 1000;
/** Of a queue, so many of the next and of the last are watched for how long they wait. */
const WATCHED = 100;

interface Presence {
  at: number;
  busy: number;
}

export function watchHost(
  parts: Omit<HostParts, 'redis'> & {
    side: QueueSide;
    /** That the workers of the app serve. */
    queues: readonly ServedQueue[];
    name: string;
    /** Jobs that this worker runs. */
    busy: () => number;
    /** It takes jobs; one that is told to leave counts no more. */
    working: () => boolean;
  },
): Repetition {
  const { config, side, queues, name, host, log, busy, working } = parts;
  const { redis } = side;
  const base = `${config.queue.prefix}:${config.app_id}:host:${host}`;
  let memory = NO_PROCESS_MEMORY;
  let waiting: ReadonlyMap<string, number> = new Map();
  let stopped = false;

  const look = async (): Promise<void> => {
    const now = Date.now();
    if (!working()) return void (await redis.hdel(base, name));
    const { min, max } = config.instances;
    const scales = max > min;
    if (scales) await redis.hset(base, name, JSON.stringify({ at: now, busy: busy() } satisfies Presence));
    if (stopped || !(await myTurn(redis, `${base}:turn`, name))) return;
    await forgetDrained({ ...parts, redis });
    if (!scales) return;
    const present = await presentOn(redis, base, now);
    // What it remembers itself is by a clock that nobody sets.
    const at = performance.now();
    waiting = stillWaiting(waiting, await waitingIn(side, queues), at);
    const facts = {
      now: at,
      processes: present.length,
      busy: present.reduce((sum, one) => sum + one.busy, 0),
      slots: queues.reduce((sum, { max }) => sum + max, 0),
      age_seconds: ageOf(waiting, at),
      pressure: readPressure(),
    };
    const decision = decideProcesses(memory, facts, config);
    ({ memory } = decision);
    const { change } = decision;
    if (change === null || stopped) return;
    const wanted = (working: number): number =>
      // By hand there may be more than max, or fewer than min: that is left as it is.
      change.by > 0
        ? Math.max(working, Math.min(max, working + 1))
        : Math.min(working, Math.max(min, working - 1));
    await scaleProcesses({ ...parts, redis }, wanted, change.reason);
  };
  const trouble = troubleTeller(log, {
    what: 'the worker processes of this host could not be scaled',
    end: 'the worker processes of this host are scaled again',
    level: 'warn',
    except: side.refusals.met,
  });
  const looking = repeat(LOOK_EVERY_SECONDS, look, trouble);
  return {
    stop: async () => {
      stopped = true;
      // Neither pm2 nor a Redis that is away may hold up a worker that leaves; what it told runs out.
      void looking.stop();
      if (redis.status === 'ready' && !side.refusals.refusing)
        void redis.hdel(base, name).catch(() => undefined);
    },
  };
}

async function myTurn(redis: Redis, key: string, name: string): Promise<boolean> {
  if (await takeLock(redis, key, name, TURN_MS)) return true;
  if ((await redis.get(key)) !== name) return false;
  await redis.pexpire(key, TURN_MS);
  return true;
}

async function presentOn(redis: Redis, base: string, now: number): Promise<Presence[]> {
  const told = Object.entries(await redis.hgetall(base)).map(
    ([name, text]) => [name, JSON.parse(text) as Presence] as const,
  );
  for (const [name, { at }] of told) if (now - at > TURN_MS) await redis.hdel(base, name);
  return told.filter(([, { at }]) => now - at <= TURN_MS).map(([, presence]) => presence);
}

/** Of all queues: a job of the second one waits no less. In one that is paused no process more would help. */
export async function waitingIn(
  { redis, queues }: QueueSide,
  served: readonly ServedQueue[],
): Promise<string[]> {
  const lists = served.map(async ({ queue }) => {
    if (await queues.get(queue).isPaused()) return [];
    const key = queues.get(queue).toKey('prioritized');
    const [next, last] = await Promise.all([
      redis.zrange(key, '0', String(WATCHED - 1)),
      redis.zrange(key, String(-WATCHED), '-1'),
    ]);
    return [...new Set([...next, ...last])].map((id) => `${queue} ${id}`);
  });
  return (await Promise.all(lists)).flat();
}
