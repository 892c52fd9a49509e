import { Worker } from 'node:worker_threads';
import type { DigestName } from '../../../config/index.ts';
import { type ErrorReport, errorFromReport } from '../../errors.ts';
import type { Digests } from './digest.ts';

/**
 * On the two cores of the measurement a third gained nothing. Each is started for the first batch that no other one is
 * free for: a thread costs 40 ms of processor time, and most datasets are one batch.
 */
const THREADS = 2;
const TELL_MS = 500;
/** A message of fewer files costs more than their digests. */
const BATCH_FILES = 256;
const BATCH_BYTES = 16 * 1024 * 1024;

/** What a digesting thread answers for one batch: digests, or why a file could not be read. */
export type DigestAnswer = { results: (Digests | { problem: string })[] } | { failed: ErrorReport };

export interface DigestBatch {
  readonly paths: readonly string[];
}

export interface DigestThreadData {
  readonly base: string;
  readonly digests: readonly DigestName[];
  /** Bytes read so far by all threads, in its only element. */
  readonly read: BigInt64Array;
}

export interface DigestPoolOptions {
  readonly signal?: AbortSignal | undefined;
  /** Told of the bytes read so far every `tell_ms` (default 500), in the middle of a large file too. */
  onRead?(bytes: number): void;
  readonly tell_ms?: number;
}

interface Job {
  readonly paths: string[];
  readonly done: ((digests: Digests) => void)[];
}

/** Digests files in two threads; `add` waits when both are busy, so memory stays bounded. */
export class DigestPool {
  readonly problems: [string, string][] = [];
  readonly #idle: Worker[] = [];
  readonly #workers: Worker[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #options: DigestPoolOptions;
  readonly #data: DigestThreadData;
  readonly #read = new BigInt64Array(new SharedArrayBuffer(BigInt64Array.BYTES_PER_ELEMENT));
  readonly #telling: NodeJS.Timeout;
  #next: Job = { paths: [], done: [] };
  #bytes = 0;

  constructor(base: string, digests: readonly DigestName[], options: DigestPoolOptions = {}) {
    this.#options = options;
    this.#telling = setInterval(() => options.onRead?.(this.read), options.tell_ms ?? TELL_MS).unref();
    this.#data = { base, digests, read: this.#read };
  }

  /** Bytes. */
  get read(): number {
    return Number(Atomics.load(this.#read, 0));
  }

  async add(path: string, size: number, done: (digests: Digests) => void): Promise<void> {
    this.#next.paths.push(path);
    this.#next.done.push(done);
    this.#bytes += size;
    if (this.#next.paths.length >= BATCH_FILES || this.#bytes >= BATCH_BYTES) await this.#send();
  }

  /** Resolves when every file that was added has its digests. */
  async settle(): Promise<void> {
    if (this.#next.paths.length > 0) await this.#send();
    await Promise.all(this.#running);
    this.#options.onRead?.(this.read);
  }

  async close(): Promise<void> {
    clearInterval(this.#telling);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    await Promise.allSettled(this.#running);
  }

  async #send(): Promise<void> {
    const job = this.#next;
    this.#next = { paths: [], done: [] };
    this.#bytes = 0;
    while (this.#idle.length === 0 && this.#workers.length === THREADS) await Promise.race(this.#running);
    const worker = this.#idle.pop() ?? this.#start();
    const run = this.#digest(worker, job).finally(() => {
      this.#running.delete(run);
      this.#idle.push(worker);
    });
    run.catch(() => undefined); // Raised again to whoever waits in #send or settle.
    this.#running.add(run);
  }

  #start(): Worker {
    const worker = new Worker(new URL('./thread.ts', import.meta.url), {
      workerData: this.#data,
      execArgv: [],
    });
    // Failures reach the batch that runs; without a listener an early one would end the process.
    worker.on('error', () => undefined);
    this.#workers.push(worker);
    return worker;
  }

  async #digest(worker: Worker, job: Job): Promise<void> {
    const answer = await this.#ask(worker, { paths: job.paths });
    if ('failed' in answer) throw errorFromReport(answer.failed);
    for (const [index, result] of answer.results.entries()) {
      const path = job.paths[index] as string;
      if (typeof result.problem === 'string') this.problems.push([path, result.problem]);
      else job.done[index]?.(result);
    }
  }

  #ask(worker: Worker, batch: DigestBatch): Promise<DigestAnswer> {
    const ended = new AbortController();
    const stopped = this.#options.signal;
    return new Promise<DigestAnswer>((resolve, reject) => {
      const { signal } = ended;
      const stop = (): void => reject(stopped?.reason as Error);
      if (stopped?.aborted === true) stop();
      stopped?.addEventListener('abort', stop, { signal });
      const failed = (cause: unknown): void => reject(new Error('a digesting thread ended early', { cause }));
      worker.once('message', resolve).once('error', failed).once('exit', failed);
      signal.addEventListener('abort', () => {
        worker.off('message', resolve).off('error', failed).off('exit', failed);
      });
      worker.postMessage(batch);
    }).finally(() => ended.abort());
  }
}
