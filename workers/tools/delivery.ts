/** Hands a program's lines to the log store in bounded batches, and outlasts a store that is away. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { LogLine } from '../records/contract.ts';
import { createSpool } from './spool.ts';

export interface ProcessInfo {
  readonly command: string;
  readonly args: readonly string[];
  readonly pid: number;
  readonly start_time: string;
}

/** Where lines go. Both may fail at any time; the program goes on regardless. */
export interface LogSink {
  /** Registers the process and answers its id. */
  open(info: ProcessInfo): Promise<number>;
  append(process_id: number, lines: readonly LogLine[]): Promise<void>;
}

export interface DeliveryLimits {
  /** Lines in one call of the sink. */
  readonly batch_lines: number;
  /** The longest that a line waits for company. */
  readonly batch_ms: number;
  /** Lines in memory; a program that is faster than the sink waits at its pipe. */
  readonly queue_lines: number;
  readonly spool_bytes: number;
  /** Pause after a failure of the sink, doubled up to ten times this. */
  readonly retry_ms: number;
  /** How long the end waits for a sink that is away. */
  readonly farewell_ms: number;
}

export const DELIVERY_LIMITS: DeliveryLimits = {
  batch_lines: 1000,
  batch_ms: 500,
  queue_lines: 10_000,
  spool_bytes: 32 * 1024 ** 2,
  retry_ms: 1000,
  farewell_ms: 10_000,
};

export interface Delivery {
  /** False: the queue is full; stop reading until `onRoom`. */
  push(line: LogLine): boolean;
  onRoom(listener: () => void): void;
  /** Delivers what is left, without delay when the sink works. */
  end(): Promise<{ process_id: number | null; lost_lines: number; cause: unknown }>;
}

export function createDelivery(sink: LogSink, info: ProcessInfo, limits: DeliveryLimits): Delivery {
  const spool = createSpool(limits.spool_bytes);
  let queue: LogLine[] = [];
  let room = (): void => undefined;
  let timer: NodeJS.Timeout | null = null;
  const now: { process_id: number | null; working: Promise<void> | null; ending: boolean } = {
    process_id: null,
    working: null,
    ending: false,
  };
  let lost_lines = 0;
  let cause: unknown = null;
  let pause = 0;
  let retry_at = 0;

  const append = async (lines: readonly LogLine[]): Promise<void> => {
    now.process_id ??= await sink.open(info);
    if (lines.length > 0) await sink.append(now.process_id, lines);
  };
  /** Older lines first, so that the order survives an outage. False: the sink is away. */
  const deliver = async (lines: readonly LogLine[]): Promise<boolean> => {
    if (Date.now() < retry_at) return false;
    try {
      for (let batch = spool.first(); batch !== null; batch = spool.first()) {
        await append(batch);
        spool.drop();
      }
      await append(lines);
      pause = 0;
      return true;
    } catch (error) {
      cause = error;
      pause = Math.min(Math.max(pause * 2, limits.retry_ms), limits.retry_ms * 10);
      retry_at = Date.now() + pause;
      return false;
    }
  };
  /** Goes on while full batches wait; a short rest waits for company, unless this is the end. */
  const drain = async (): Promise<void> => {
    do {
      const lines = queue.slice(0, limits.batch_lines);
      queue = queue.slice(limits.batch_lines);
      if (queue.length < limits.batch_lines) room();
      if (!(await deliver(lines)) && lines.length > 0 && !spool.add(lines)) lost_lines += lines.length;
    } while (queue.length >= limits.batch_lines || (now.ending && queue.length > 0));
  };
  const work = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    now.working ??= drain().finally(() => {
      now.working = null;
      if (queue.length > 0) wait(limits.batch_ms);
      else if (spool.waiting > 0) wait(pause);
    });
  };
  const wait = (ms: number): void => {
    if (!now.ending) timer ??= setTimeout(work, ms);
  };
  /** Waits a while for a sink that is away; a process without an id has not been registered. */
  const sayFarewell = async (): Promise<void> => {
    const deadline = Date.now() + limits.farewell_ms;
    while (spool.waiting > 0 || now.process_id === null) {
      if ((await deliver([])) || Date.now() >= deadline) return;
      await sleep(Math.min(Math.max(retry_at - Date.now(), 10), Math.max(deadline - Date.now(), 1)));
    }
  };
  work(); // Registers the process before its first line, so that a silent program can be seen too.

  return {
    push: (line) => {
      queue.push(line);
      if (queue.length >= limits.batch_lines) work();
      else if (now.working === null) wait(limits.batch_ms);
      return queue.length < limits.queue_lines;
    },
    onRoom: (listener) => {
      room = listener;
    },
    end: async () => {
      now.ending = true;
      while (now.working !== null || queue.length > 0) {
        if (now.working === null) work();
        await now.working;
      }
      await sayFarewell();
      lost_lines += spool.waiting;
      if (timer !== null) clearTimeout(timer);
      spool.close();
      return { process_id: now.process_id, lost_lines, cause: lost_lines > 0 ? cause : null };
    },
  };
}
