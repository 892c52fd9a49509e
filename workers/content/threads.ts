import { parentPort, Worker, workerData } from 'node:worker_threads';
import { type ErrorReport, errorFromReport, LongshoreError, reportOf } from '../errors.ts';
import { type Written, writeBehind } from './write-behind.ts';
import { createRing, type ProgressCounts, type RingMemory, readCounters, Stopped, stopRing } from './ring.ts';

/**
 * Two threads around one ring. Whatever ends one of them early (an error, an abort, a crash) stops the other, and the
 * promise settles only when both have left: afterwards no thread writes any more.
 */
export interface ThreadOptions {
  readonly signal?: AbortSignal;
  /** What the threads write; its pages go to the disk meanwhile. */
  readonly writes?: Written;
  /** How often progress is told. */
  readonly progress_ms?: number;
  /** Called a few times a second, and once at the end. */
  onProgress?(progress: ProgressCounts): void;
}

type Outcome<T> = { readonly result: T } | { readonly failed: ErrorReport } | { readonly stopped: true };

const PROGRESS_MS = 250;
/**
 * A thread keeps almost nothing, but left alone V8 lets its garbage grow with the memory of the machine. The old
 * generation holds the names of one directory, also of one with millions.
 */
const HEAP = { maxYoungGenerationSizeMb: 8, maxOldGenerationSizeMb: 1024 };

export interface Thread {
  readonly file: URL;
  readonly data: unknown;
}

/** A side that the main thread takes itself: what it does is waiting (for a network), not computing. */
export interface LocalSide<T> {
  run(ring: RingMemory): Promise<T>;
}

/** What became of both threads; the first failure in `error`, results where there are some. */
export interface Pair<A, B> {
  readonly first: A | null;
  readonly second: B | null;
  readonly error: Error | null;
  readonly counts: ProgressCounts;
}

export async function runPair<A, B>(
  first: Thread | LocalSide<A>,
  second: Thread | LocalSide<B>,
  options: ThreadOptions,
): Promise<Pair<A, B>> {
  options.signal?.throwIfAborted();
  const ring = createRing();
  const stop = (): void => stopRing(ring);
  const state: { error: Error | null } = { error: null };
  const timer = setInterval(
    () => options.onProgress?.(readCounters(ring)),
    options.progress_ms ?? PROGRESS_MS,
  );
  const written = writeBehind(options.writes ?? {});
  options.signal?.addEventListener('abort', stop, { once: true });
  const run = async <T>(side: Thread | LocalSide<T>): Promise<T | null> => {
    const outcome = await ('run' in side ? outcomeOfLocal(side, ring) : outcomeOf<T>(side, ring));
    if ('result' in outcome) return outcome.result;
    stop();
    if ('failed' in outcome) state.error ??= errorFromReport(outcome.failed);
    return null;
  };
  try {
    const [a, b] = await Promise.all([run<A>(first), run<B>(second)]);
    options.signal?.throwIfAborted();
    const counts = readCounters(ring);
    if (state.error === null) options.onProgress?.(counts);
    return { first: a, second: b, error: state.error, counts };
  } finally {
    clearInterval(timer);
    options.signal?.removeEventListener('abort', stop);
    await written();
  }
}

async function outcomeOfLocal<T>(side: LocalSide<T>, ring: RingMemory): Promise<Outcome<T>> {
  try {
    return { result: await side.run(ring) };
  } catch (error) {
    return error instanceof Stopped ? { stopped: true } : { failed: reportOf(error) };
  }
}

function outcomeOf<T>(thread: Thread, ring: RingMemory): Promise<Outcome<T>> {
  return new Promise((resolve) => {
    let outcome: Outcome<T> | null = null;
    const failed = (error: unknown): void => {
      outcome ??= { failed: reportOf(error) };
    };
    const worker = new Worker(thread.file, {
      workerData: { ring, data: thread.data },
      resourceLimits: HEAP,
      execArgv: [], // Some options of a process (--input-type, --eval) are errors in a thread.
    });
    worker.once('message', (message: Outcome<T>) => {
      outcome = message;
    });
    worker.once('error', failed);
    worker.once('exit', (code) => {
      failed(
        new LongshoreError('E_TASK_CRASHED', `a thread of ${thread.file.pathname} ended with code ${code}`),
      );
      resolve(outcome as Outcome<T>);
    });
  });
}

/** The whole life of a thread: its file calls this at top level with the work to do. */
export async function serveThread(work: (data: unknown, ring: RingMemory) => unknown): Promise<void> {
  const { ring, data } = workerData as { ring: RingMemory; data: unknown };
  parentPort?.postMessage(await attempt(() => work(data, ring)));
}

async function attempt(work: () => unknown): Promise<Outcome<unknown>> {
  try {
    return { result: await work() };
  } catch (error) {
    return error instanceof Stopped ? { stopped: true } : { failed: reportOf(error) };
  }
}
