/**
 * A ring of buffers in shared memory between one producing and one consuming thread.
 *
 * Slots of 256 KiB: 1 MiB slots were up to 1.5 times slower on small and mixed files, 4 MiB slots slowest (the slot
 * leaves the cache before the other thread digests it). 32 of them, so that a thread that waits for its processor or disk
 * does not stop the other one: with 8, landing 2 GB took 5.2 s instead of 4.8 s alone (medians of three), and 13 s instead
 * of 10 s beside other work (of five). Streams and per-file promises in place of the ring: 2 times
 * slower on large files, 10 times on small ones.
 *
 * | word    | written by | meaning                                                      |
 * | ------- | ---------- | ------------------------------------------------------------ |
 * | HEAD    | producer   | slots published so far                                       |
 * | TAIL    | consumer   | slots given back so far                                      |
 * | ENDED   | producer   | no slot will follow; stored after the last HEAD              |
 * | STOPPED | main       | both threads leave at their next slot by throwing `Stopped`  |
 */
export const SLOT_BYTES = 256 * 1024;
const SLOTS = 32;
const [HEAD, TAIL, ENDED, STOPPED, LENGTHS] = [0, 1, 2, 3, 32] as const;
const CONTROL_BYTES = 256;
/** Set in a slot's length: here the consumer notes how far it has come (see pack/checkpoint.ts). */
const MARKED = 1 << 30;
/** A stop between a thread's check and its wait would be slept through; so no wait is longer than this. */
const NAP_MS = 100;

export class Stopped extends Error {
  override readonly name = 'Stopped';
}

/** Counters that a thread adds to and the main thread shows: [bytes, files, skipped]. */
export interface RingMemory {
  readonly memory: SharedArrayBuffer;
}

export const createRing = (): RingMemory => ({
  memory: new SharedArrayBuffer(CONTROL_BYTES + SLOTS * SLOT_BYTES),
});

const controlOf = (ring: RingMemory): Int32Array => new Int32Array(ring.memory, 0, CONTROL_BYTES / 4);
const countersOf = (ring: RingMemory): Float64Array => new Float64Array(ring.memory, 64, 4);

/** Called by the main thread. */
export function stopRing(ring: RingMemory): void {
  const control = controlOf(ring);
  Atomics.store(control, STOPPED, 1);
  Atomics.notify(control, HEAD);
  Atomics.notify(control, TAIL);
}

export interface ProgressCounts {
  readonly bytes: number;
  readonly files: number;
  /** Of `bytes`: what was no work, as holes. */
  readonly skipped: number;
}

export function readCounters(ring: RingMemory): ProgressCounts {
  const counters = countersOf(ring);
  return { bytes: counters[0] ?? 0, files: counters[1] ?? 0, skipped: counters[2] ?? 0 };
}

export interface Counters {
  add(bytes: number, files: number): void;
  /** Bytes that are done without work. */
  skip(bytes: number): void;
}

/** Torn reads cannot happen (aligned 8 bytes), stale ones do not matter: these numbers are only shown. */
export function createCounters(ring: RingMemory): Counters {
  const counters = countersOf(ring);
  return {
    add: (bytes, files) => {
      counters[0] = (counters[0] ?? 0) + bytes;
      counters[1] = (counters[1] ?? 0) + files;
    },
    skip: (bytes) => {
      counters[0] = (counters[0] ?? 0) + bytes;
      counters[2] = (counters[2] ?? 0) + bytes;
    },
  };
}

function slotsOf(ring: RingMemory): Buffer[] {
  return Array.from({ length: SLOTS }, (_, index) =>
    Buffer.from(ring.memory, CONTROL_BYTES + index * SLOT_BYTES, SLOT_BYTES),
  );
}

export interface RingProducer {
  /** The slot being filled; valid until the next `publish`. */
  acquire(): Buffer;
  publish(length: number, marked?: boolean): void;
  end(): void;
  /** @throws Stopped */
  check(): void;
}

export function openProducer(ring: RingMemory): RingProducer {
  const control = controlOf(ring);
  const slots = slotsOf(ring);
  let head = 0;
  const check = (): void => {
    if (Atomics.load(control, STOPPED) === 1) throw new Stopped('stopped');
  };
  return {
    check,
    acquire: () => {
      for (;;) {
        check();
        const tail = Atomics.load(control, TAIL);
        if (head - tail < SLOTS) return slots[head % SLOTS] as Buffer;
        Atomics.wait(control, TAIL, tail, NAP_MS);
      }
    },
    publish: (length, marked = false) => {
      control[LENGTHS + (head % SLOTS)] = marked ? length | MARKED : length;
      head += 1;
      Atomics.store(control, HEAD, head);
      Atomics.notify(control, HEAD);
    },
    end: () => {
      Atomics.store(control, ENDED, 1);
      Atomics.notify(control, HEAD);
    },
  };
}

/** The producer's side for the main thread, which may not block: chunks of any size in, whole slots on. */
export async function fillRing(ring: RingMemory, source: AsyncIterable<Buffer>): Promise<void> {
  const control = controlOf(ring);
  const slots = slotsOf(ring);
  let head = 0;
  let used = 0;
  const free = async (): Promise<Buffer> => {
    for (;;) {
      if (Atomics.load(control, STOPPED) === 1) throw new Stopped('stopped');
      const tail = Atomics.load(control, TAIL);
      if (head - tail < SLOTS) return slots[head % SLOTS] as Buffer;
      await Atomics.waitAsync(control, TAIL, tail, NAP_MS).value;
    }
  };
  const publish = (): void => {
    control[LENGTHS + (head % SLOTS)] = used;
    head += 1;
    used = 0;
    Atomics.store(control, HEAD, head);
    Atomics.notify(control, HEAD);
  };
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      const slot = await free();
      const length = chunk.copy(slot, used, at);
      used += length;
      at += length;
      if (used === slot.length) publish(); // Only the last one is not full: a tar block never lies across two.
    }
  }
  if (used > 0) publish();
  Atomics.store(control, ENDED, 1);
  Atomics.notify(control, HEAD);
}

/** The consumer's side for the main thread; a slot is valid until the next one is asked for. */
export async function* drainRing(ring: RingMemory): AsyncGenerator<Buffer, void, undefined> {
  const control = controlOf(ring);
  const slots = slotsOf(ring);
  for (let tail = 0; ; ) {
    if (Atomics.load(control, STOPPED) === 1) throw new Stopped('stopped');
    const ended = Atomics.load(control, ENDED) === 1; // Before the head, as below.
    const head = Atomics.load(control, HEAD);
    if (head !== tail) {
      yield (slots[tail % SLOTS] as Buffer).subarray(0, (control[LENGTHS + (tail % SLOTS)] ?? 0) & ~MARKED);
      tail += 1;
      Atomics.store(control, TAIL, tail);
      Atomics.notify(control, TAIL);
    } else if (ended) return;
    else await Atomics.waitAsync(control, HEAD, head, NAP_MS).value;
  }
}

export interface RingConsumer {
  /** The next filled slot, or null at the end; valid until `release`. */
  take(): Buffer | null;
  /** Of the slot taken last: the producer has marked its end. */
  marked(): boolean;
  release(): void;
}

export function openConsumer(ring: RingMemory): RingConsumer {
  const control = controlOf(ring);
  const slots = slotsOf(ring);
  let tail = 0;
  let isMarked = false;
  return {
    marked: () => isMarked,
    take: () => {
      for (;;) {
        if (Atomics.load(control, STOPPED) === 1) throw new Stopped('stopped');
        // Ended is read before the head: read after it, a slot published in between would be lost.
        const ended = Atomics.load(control, ENDED) === 1;
        const head = Atomics.load(control, HEAD);
        if (head !== tail) {
          const length = control[LENGTHS + (tail % SLOTS)] ?? 0;
          isMarked = (length & MARKED) !== 0;
          return (slots[tail % SLOTS] as Buffer).subarray(0, length & ~MARKED);
        }
        if (ended) return null;
        Atomics.wait(control, HEAD, head, NAP_MS);
      }
    },
    release: () => {
      tail += 1;
      Atomics.store(control, TAIL, tail);
      Atomics.notify(control, TAIL);
    },
  };
}
