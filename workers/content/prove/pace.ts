import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Keeps reading below so many bytes a second, over all bundles of a run and whichever thread reads: others use the same
 * storage. Only the reader waits, never the process.
 */
export interface Pace {
  readonly memory: SharedArrayBuffer;
}

const [RATE, DUE] = [0, 1] as const;
/** What was left over in a moment of slow reading may be caught up on; hours between two runs may not. */
const CREDIT_MS = 1000;

export function createPace(bytes_per_second: number): Pace {
  const memory = new SharedArrayBuffer(16);
  const state = new Float64Array(memory);
  state[RATE] = bytes_per_second / 1000;
  state[DUE] = now();
  return { memory };
}

/** How long to wait, in milliseconds, after so many bytes were read. One reader at a time. */
export function waitAfter({ memory }: Pace, bytes: number): number {
  const state = new Float64Array(memory);
  const at = now();
  const due = Math.max(state[DUE] ?? at, at - CREDIT_MS) + bytes / (state[RATE] ?? 1);
  state[DUE] = due;
  return Math.max(0, due - at);
}

/** The same clock in all threads; `performance.now()` has a beginning of its own in each. */
const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

export async function* paced(
  source: AsyncIterable<Buffer>,
  pace: Pace,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of source) {
    yield chunk;
    await sleep(waitAfter(pace, chunk.length), undefined, signal === undefined ? {} : { signal });
  }
}
