/**
 * Fair share by start-time fair queuing (Goyal, Vin and Cheng 1996), with BullMQ's priorities as its clock. Its open
 * edition has no groups; a queue per project would need workers that know all projects, and a count of the project's
 * waiting jobs as the priority would let a steady stream of small projects starve the tail of a large one.
 *
 * Each queue has a virtual time for each of our ten priorities. A workflow's turn is the later of the virtual time and
 * the end of its project's last turn, which is one longer. The virtual time is the turn of what was last given to a
 * worker. So 1,000 datasets of A have turns 0 to 999, and the first of B, which comes when A's third is at work, has 3.
 */
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { WorkflowDocument } from '../records/contract.ts';
import type { Queues } from './queues.ts';
import { TURNS, windBack } from './wind-back.ts';

/** Ours: 0..9, larger sooner. BullMQ: smaller sooner, and 0 would mean "before all others". */
export const queuePriority = (priority: number, turn: number): number =>
  (9 - priority) * TURNS + Math.min(turn, TURNS - 1) + 1;

export const placeOf = (queue_priority: number): { priority: number; turn: number } => {
  const place = Math.max(0, queue_priority - 1);
  return { priority: 9 - Math.floor(place / TURNS), turn: place % TURNS };
};

/**
 * A turn for each pair of queue and priority. Where nothing waits, runs or is put off, the clock begins at 0 again. Where
 * there is always something, it is wound back in time (wind-back.ts): at its end it would be first come, first served.
 *
 * KEYS: of each queue its clock and its wait, prioritized, active and delayed. ARGV: project, then pairs of the
 * position of a queue and a priority.
 */
const TAKE_TURNS = `
for at = 1, #KEYS, 5 do
  if redis.call('llen', KEYS[at + 1]) == 0 and redis.call('zcard', KEYS[at + 2]) == 0
    and redis.call('llen', KEYS[at + 3]) == 0 and redis.call('zcard', KEYS[at + 4]) == 0 then
    redis.call('del', KEYS[at])
  end
end
local turns = {}
for at = 2, #ARGV, 2 do
  local clock = KEYS[tonumber(ARGV[at]) * 5 + 1]
  local mine = 'end:' .. ARGV[at + 1] .. ':' .. ARGV[1]
  local turn = math.max(
    tonumber(redis.call('hget', clock, 'now:' .. ARGV[at + 1]) or 0),
    tonumber(redis.call('hget', clock, mine) or 0))
  redis.call('hset', clock, mine, turn + 1)
  turns[#turns + 1] = turn
end
return turns`;

const ADVANCE = `
local now = tonumber(redis.call('hget', KEYS[1], ARGV[1]) or 0)
if tonumber(ARGV[2]) > now then redis.call('hset', KEYS[1], ARGV[1], ARGV[2]) end`;

/** Whose share a dataset's work is taken from. */
export type ShareOf = (dataset_id: number | null) => Promise<string>;

export interface Shares {
  /** The priorities in BullMQ of the steps from `first` on, by position. */
  priorities(workflow: WorkflowDocument, first: number): Promise<ReadonlyMap<number, number>>;
  /** A job was given to a worker: the clock goes on. Not waited for; one that is lost is made good by the next. */
  served(queue: string, queue_priority: number): void;
  /**
   * The priority of a job that is put off and comes again: behind those whose turn is now. With its old turn, a few jobs
   * that look again every second would keep every slot from all that came after them.
   */
  again(queue: string, queue_priority: number): Promise<number>;
  /** Keeps the clock of a queue from its end, with all that waits; to be asked for now and then. */
  windBack(queue: string): Promise<void>;
}

export function createShares(
  config: Config,
  { redis, queues, log, shareOf }: { redis: Redis; queues: Queues; log: Logger; shareOf: ShareOf },
): Shares {
  const clockOf = (queue: string): string => `${config.queue.prefix}:${config.app_id}:share:${queue}`;
  const keysOf = (name: string): string[] => {
    const queue = queues.get(name);
    return [
      clockOf(name),
      ...['wait', 'prioritized', 'active', 'delayed'].map((state) => queue.toKey(state)),
    ];
  };
  const fair = config.queue.share_by !== null;
  const clock = coalesce((queue, priority, turn) => {
    if (redis.status !== 'ready') return;
    redis.eval(ADVANCE, 1, clockOf(queue), `now:${priority}`, turn).catch((error: unknown) => {
      log.debug({ err: error, queue }, 'the clock of the fair share did not go on');
    });
  });
  return {
    priorities: async (workflow, first) => {
      const steps = [...workflow.steps.entries()].slice(first);
      if (!fair)
        return new Map(steps.map(([position, { priority }]) => [position, queuePriority(priority, 0)]));
      const names = [...new Set(steps.map(([, { queue }]) => queue))];
      const pairs = new Map(
        steps.map(([, { queue, priority }]) => [`${queue} ${priority}`, [names.indexOf(queue), priority]]),
      );
      const keys = names.flatMap(keysOf);
      const share = await shareOf(workflow.dataset_id);
      const turns = await redis.eval(TAKE_TURNS, keys.length, ...keys, share, ...[...pairs.values()].flat());
      const taken = new Map([...pairs.keys()].map((pair, at) => [pair, (turns as number[])[at] ?? 0]));
      return new Map(
        steps.map(([position, { queue, priority }]) => [
          position,
          queuePriority(priority, taken.get(`${queue} ${priority}`) ?? 0),
        ]),
      );
    },
    served: (queue, queue_priority) => {
      const { priority, turn } = placeOf(queue_priority);
      if (fair && turn > 0) clock(queue, priority, turn);
    },
    again: async (queue, queue_priority) => {
      if (!fair) return queue_priority;
      const { priority, turn } = placeOf(queue_priority);
      const now = Number(await redis.hget(clockOf(queue), `now:${priority}`));
      return queuePriority(priority, Math.max(turn, now + 1));
    },
    windBack: async (queue) => {
      if (fair) await windBack(redis, clockOf(queue), queues.get(queue));
    },
  };
}

type Advance = (queue: string, priority: number, turn: number) => void;

/** Of what is served in one turn of the event loop only the last turn of each clock is told. */
function coalesce(tell: Advance): Advance {
  const last = new Map<string, Parameters<Advance>>();
  return (queue, priority, turn) => {
    if (last.size === 0) {
      setImmediate(() => {
        const told = [...last.values()];
        last.clear();
        for (const each of told) tell(...each);
      });
    }
    const key = `${priority} ${queue}`;
    last.set(key, [queue, priority, Math.max(turn, last.get(key)?.[2] ?? 0)]);
  };
}
