import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { type ErrorReport, reportOf } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { AttemptKey } from '../records/contract.ts';

/** Stop the attempt and everything it started. The records have been changed already; this only ends the work. */
export interface CancelOrder extends AttemptKey {
  /** Name of the worker that runs it. */
  worker: string;
  reason: string;
  /** SIGTERM to SIGKILL; default config.task.kill_grace_seconds. */
  grace_seconds?: number;
}

export type OrderArgs = Readonly<Record<string, unknown>>;

/** What a worker does when it is told to, by the name of the order; what it resolves to is the answer. */
export type Orders = Readonly<Record<string, (args: OrderArgs) => Promise<unknown>>>;

interface Sent {
  order: string;
  args: OrderArgs;
  /** Names of workers; the others let it pass. */
  to: readonly string[];
  reply_to: string;
}

interface Answer {
  worker: string;
  /** `unknown`: the worker's release does not know the order. */
  outcome: 'done' | 'unknown' | 'failed';
  result: unknown;
  error: ErrorReport | null;
}

export interface Reply extends Answer {
  /** From the sending of the order to the arrival of this. */
  ms: number;
}

export interface Replies {
  replies: Reply[];
  /** Those that were asked and said nothing in time. */
  silent: string[];
}

/** Reaches every worker of the fleet, whichever process asks. */
export interface Control {
  /** Resolves when all have answered, or at the deadline; it covers a Redis that is away as well. */
  ask(
    order: string,
    args: OrderArgs,
    options: { to: readonly string[]; wait_seconds: number },
  ): Promise<Replies>;
  /** Resolves `stopped` when the worker that runs the attempt says that its process group is gone. */
  cancel(order: CancelOrder, wait_seconds: number): Promise<'stopped' | 'silent'>;
  /** For workers: obeys orders that name this worker, and answers those that it does not know as unknown. */
  listen(worker: string, orders: Orders): Promise<void>;
  /**
   * A byte over every listening connection. Redis never speaks to a listener by itself, so one that is cut off would not
   * know; one that gets no answer is opened anew (queue.silence_seconds).
   */
  prove(): Promise<void>;
  close(): void;
}

const channelOf = (config: Config): string => `${config.queue.prefix}:${config.app_id}:control`;

export function createControl(config: Config, redis: Redis, log: Logger): Control {
  const channel = channelOf(config);
  const subscribers = new Map<string, Redis>();
  /** A connection that subscribes can do nothing else. It subscribes again by itself after an outage. */
  const subscribe = async (name: string, listener: (message: string) => void): Promise<void> => {
    const subscriber = redis.duplicate();
    subscriber.on('error', () => undefined); // The shared connection reports outages.
    subscriber.on('message', (_, message) => listener(message));
    subscribers.set(name, subscriber);
    await subscriber.subscribe(name);
  };
  const leave = (name: string): void => {
    subscribers.get(name)?.disconnect();
    subscribers.delete(name);
  };
  const ask: Control['ask'] = async (order, args, { to, wait_seconds }) => {
    const replies: Reply[] = [];
    const silent = new Set(to);
    if (silent.size === 0) return { replies, silent: [] };
    const reply_to = `${channel}:${randomUUID()}`;
    const all = Promise.withResolvers<void>();
    let sent = performance.now();
    const take = (message: string): void => {
      const answer = JSON.parse(message) as Answer;
      if (!silent.delete(answer.worker)) return;
      replies.push({ ...answer, ms: performance.now() - sent });
      if (silent.size === 0) all.resolve();
    };
    const send = async (): Promise<void> => {
      await subscribe(reply_to, take);
      sent = performance.now();
      await redis.publish(channel, JSON.stringify({ order, args, to, reply_to } satisfies Sent));
    };
    send().catch(() => undefined); // It went with the connection when the time was over.
    const waiting = new AbortController();
    const timeout = sleep(wait_seconds * 1000, undefined, { signal: waiting.signal }).catch(() => undefined);
    await Promise.race([all.promise, timeout]);
    waiting.abort();
    leave(reply_to);
    return { replies, silent: [...silent] };
  };
  return {
    ask,
    cancel: async ({ worker, ...order }, wait_seconds) => {
      const { replies } = await ask('cancel', order, { to: [worker], wait_seconds });
      return replies[0]?.outcome === 'done' ? 'stopped' : 'silent';
    },
    listen: async (worker, orders) => {
      await subscribe(channel, (message) => {
        obey(redis, worker, orders, message).catch((error: unknown) => {
          log.error({ err: error, order: message }, 'an order could not be answered');
        });
      });
    },
    prove: async () => {
      await Promise.all([...subscribers.values()].map((subscriber) => subscriber.ping()));
    },
    close: () => {
      for (const name of subscribers.keys()) leave(name);
    },
  };
}

async function obey(redis: Redis, worker: string, orders: Orders, message: string): Promise<void> {
  const { order, args, to, reply_to } = JSON.parse(message) as Sent;
  if (!to.includes(worker)) return;
  const answer = await answerOf(worker, order, args, orders);
  await redis.publish(reply_to, JSON.stringify(answer));
}

async function answerOf(worker: string, order: string, args: OrderArgs, orders: Orders): Promise<Answer> {
  const carryOut = Object.hasOwn(orders, order) ? orders[order] : undefined;
  if (carryOut === undefined) return { worker, outcome: 'unknown', result: null, error: null };
  try {
    return { worker, outcome: 'done', result: (await carryOut(args)) ?? null, error: null };
  } catch (error) {
    return { worker, outcome: 'failed', result: null, error: reportOf(error) };
  }
}
