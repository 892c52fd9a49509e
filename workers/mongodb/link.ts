/**
 * The driver between us and the server may come to stand still for good. What it writes to a socket that was destroyed a
 * moment before, as the sockets of a killed server are, it waits for without an end (driver 7.9: a destroyed socket tells
 * neither `drain` nor `error`). Where an operation waits so, that one never ends; where the monitor does, no server is ever
 * found again, though it is back for long.
 *
 * So an operation is given up when it must have been answered, and a client that finds no server for a while is connected
 * anew. Both look like an outage to who asks, who asks again.
 */
import { type MongoClient, MongoNetworkTimeoutError } from 'mongodb';
import { isAway } from './failure.ts';

export interface Link {
  /** @throws what `once` throws, or that it does not end */
  ask<T>(once: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const RENEW_AFTER_MS = 10_000;
/** Closing waits for nobody's answer; a driver that stands still may do so all the same. */
const CLOSES_WITHIN_MS = 5_000;

/**
 * @param ping tells that the server is there, of a client that was connected
 * @param longest_seconds that an operation may take
 */
export function linkOf(client: MongoClient, ping: () => Promise<unknown>, longest_seconds: number): Link {
  const longest = longest_seconds * 1000;
  let failing_since: number | null = null;
  let connecting: Promise<void> | null = null;
  let renewing: Promise<void> | null = null;
  let connected = false;
  let closed = false;

  /** Said again each time: a driver that has not reached the server once makes no other attempt by itself. */
  async function connect(): Promise<void> {
    await renewing;
    if (closed) throw new MongoNetworkTimeoutError('the connection was closed');
    await within(longest, client.connect());
    await within(longest, ping());
    connected = true;
  }

  /** Whoever asks meanwhile waits: a client that is just being closed still connects, to the server that it leaves. */
  function renew(): Promise<void> {
    failing_since = performance.now();
    connected = false;
    renewing = within(CLOSES_WITHIN_MS, client.close())
      .catch(() => undefined)
      .finally(() => {
        renewing = null;
      });
    return renewing;
  }

  async function failed(error: unknown): Promise<void> {
    if (!isAway(error)) failing_since = null;
    else if (failing_since === null) failing_since = performance.now();
    else if (connected && performance.now() - failing_since > RENEW_AFTER_MS) await renew();
  }

  return {
    ask: async (once) => {
      try {
        if (!connected) {
          connecting ??= connect().finally(() => {
            connecting = null;
          });
          await connecting;
        }
        const answer = await within(longest, once());
        failing_since = null;
        return answer;
      } catch (error) {
        await failed(error);
        throw error;
      }
    },
    close: async () => {
      closed = true;
      await connecting?.catch(() => undefined);
      await client.close();
    },
  };
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new MongoNetworkTimeoutError(`no answer within ${ms / 1000} s`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
