/** The queue of the turns of config.schedules, for those who take them and those who only look. */
import { type Job, Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { reportErrors } from './queues.ts';

export type Schedule = Config['schedules'][number];

/** One turn of a schedule, or a run that a person asked for. */
export interface Tick {
  readonly script: string;
  readonly args: readonly string[];
  /** Of its schedule; absent in turns that an older release has queued. */
  readonly missed?: Schedule['missed'];
  readonly by_hand?: boolean;
}

export type TickQueue = Queue<Tick, string>;
export type TickJob = Job<Tick, string>;

export const scheduleId = ({ script, args }: Pick<Schedule, 'script' | 'args'>): string =>
  [script, ...args].join(' ');

export function openTickQueue(config: Config, redis: Redis, log: Logger): TickQueue {
  const queue: TickQueue = new Queue<Tick, string>(tickQueueName(config), tickQueueOptions(config, redis));
  reportErrors(queue, log);
  return queue;
}

export const tickQueueName = (config: Config): string => `${config.app_id}.schedules`;
export const tickQueueOptions = (config: Config, connection: Redis) => ({
  connection,
  prefix: config.queue.prefix,
});

/** Turns that have ended are kept for a while for those who look; what is shown of them is in schedule-runs.ts. */
export const TICK_OPTIONS = { removeOnComplete: { count: 100 }, removeOnFail: { count: 100 } };
