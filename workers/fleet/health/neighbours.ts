/** Workers of one machine look after each other: whether a process has died is known there at once, and for certain. */
import { readFileSync, readlinkSync } from 'node:fs';
import type { Config } from '../../../config/index.ts';
import type { Logger } from '../../log.ts';
import type { QueueSide } from '../../queue/side.ts';
import { startOf } from '../../process-start.ts';
import { troubleTeller } from '../../trouble.ts';
import { repeat, type Repetition } from '../repeat.ts';
import type { Slots } from '../slots.ts';

const LOOK_EVERY_SECONDS = 1;
/** What is known of a machine that never came back. */
const FORGET_SECONDS = 7 * 86_400;

/** Who holds locks, by what their tokens begin with. */
interface Holder {
  pid: number;
  /** When the process was started, in ticks since the machine was: its number may be given to another one. */
  start: string;
  queue: string;
}

interface NeighbourParts {
  config: Config;
  side: QueueSide;
  slots: readonly Slots[];
  log: Logger;
}

/**
 * Gives the jobs of workers that died on this machine back to the queue within about a second; without it they would wait
 * until their locks have run out and two checks have passed. A machine that is gone as a whole, and a worker that merely
 * stands still, are left to that.
 *
 * The machine is told by its boot and its process namespace, not by its name: two containers may share a name, and each would
 * take the other's workers for dead.
 */
export async function watchNeighbours({ config, side, slots, log }: NeighbourParts): Promise<Repetition> {
  const machine = thisMachine();
  if (machine === null) return { stop: async () => undefined };
  const { redis } = side;
  const key = `${config.queue.prefix}:${config.app_id}:holders:${machine}`;
  const own = new Map(
    slots.map(({ holder, queue }) => [
      holder,
      JSON.stringify({ pid: process.pid, start: startOf(process.pid) ?? '', queue } satisfies Holder),
    ]),
  );
  const announce = async (): Promise<void> => {
    await redis.multi().hset(key, own).expire(key, FORGET_SECONDS).exec();
  };
  const look = async (): Promise<void> => {
    if (redis.status !== 'ready') return;
    const known = await redis.hgetall(key);
    if ([...own.keys()].some((holder) => known[holder] === undefined)) await announce();
    for (const [holder, text] of Object.entries(known)) {
      const { pid, start, queue } = JSON.parse(text) as Holder;
      if (startOf(pid) === start) continue;
      const given = await giveBack(side, queue, holder);
      await redis.hdel(key, holder);
      if (given.length > 0)
        log.warn({ pid, queue, job_ids: given }, 'a worker of this machine died; its jobs run again');
    }
  };
  await side.refusals.through(announce);
  const trouble = troubleTeller(log, {
    what: 'the other workers of this machine could not be looked after',
    end: 'the other workers of this machine are looked after again',
    level: 'warn',
    except: side.refusals.met,
  });
  const looking = repeat(LOOK_EVERY_SECONDS, look, trouble);
  return {
    stop: async () => {
      void looking.stop(); // Not waited for: Redis may be away.
      if (redis.status === 'ready' && !side.refusals.refusing) await redis.hdel(key, ...own.keys());
    },
  };
}

/** By the tokens of its locks, so that a job which somebody else has by now stays where it is. */
async function giveBack(side: QueueSide, name: string, holder: string): Promise<string[]> {
  const queue = side.queues.get(name);
  const active = await side.redis.lrange(queue.toKey('active'), 0, -1);
  if (active.length === 0) return [];
  const tokens = await side.redis.mget(active.map((id) => `${queue.toKey(id)}:lock`));
  const given: string[] = [];
  for (const [at, id] of active.entries()) {
    const token = tokens[at];
    if (!token?.startsWith(`${holder}:`)) continue;
    const job = await queue.getJob(id);
    const moved = await job?.moveToWait(token).then(
      () => true,
      // A neighbour was faster, or the lock ran out just now.
      async (error: unknown) => {
        if ((await side.redis.get(`${queue.toKey(id)}:lock`)) === token) throw error;
        return false;
      },
    );
    if (moved === true) given.push(id);
  }
  return given;
}

/** Null where there is no /proc. */
function thisMachine(): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot}:${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return null;
  }
}
