import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { AttemptKey } from '../records/contract.ts';

/** Stop the attempt and everything it started. The records have been changed already; this only ends the work. */
export interface CancelOrder extends AttemptKey {
  order: 'cancel';
  /** Name of the worker that runs it. */
  worker: string;
  reason: string;
}

type Sent = CancelOrder & { reply_to: string };

/** Reaches every worker of the fleet, whichever process asks. */
export interface Control {
  /** Resolves `stopped` when the worker that runs the attempt says that its process group is gone. */
  cancel(order: Omit<CancelOrder, 'order'>, wait_seconds: number): Promise<'stopped' | 'silent'>;
  /** For workers. The handler answers false when the attempt is not one of its own. */
  listen(handler: (order: CancelOrder) => Promise<boolean>): Promise<void>;
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
  return {
    cancel: async (order, wait_seconds) => {
      const reply_to = `${channel}:${randomUUID()}`;
      const waiting = new AbortController();
      const asked = new Promise<'stopped'>((resolve) => {
        void subscribe(reply_to, () => resolve('stopped')).then(() =>
          redis.publish(channel, JSON.stringify({ ...order, order: 'cancel', reply_to } satisfies Sent)),
        );
      });
      // The time covers a Redis that is away as well: whoever asked gets an answer.
      const timeout = sleep(wait_seconds * 1000, 'silent' as const, { signal: waiting.signal });
      const answer = await Promise.race([asked, timeout.catch(() => 'silent' as const)]);
      waiting.abort();
      leave(reply_to);
      return answer;
    },
    listen: async (handler) => {
      await subscribe(channel, (message) => {
        answer(redis, handler, message).catch((error: unknown) => {
          log.error({ err: error, order: message }, 'an order could not be carried out');
        });
      });
    },
    close: () => {
      for (const name of subscribers.keys()) leave(name);
    },
  };
}

async function answer(
  redis: Redis,
  handler: (order: CancelOrder) => Promise<boolean>,
  message: string,
): Promise<void> {
  const { reply_to, ...order } = JSON.parse(message) as Sent;
  if (order.order !== 'cancel') return; // An order of a newer release: not for us.
  if (await handler(order)) await redis.publish(reply_to, 'stopped');
}
