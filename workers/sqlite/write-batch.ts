import { isLongshoreError } from '../errors.ts';

/** `S`: what a transaction is done with. */
type Work<S> = (sql: S) => unknown;

interface Waiting<S> {
  readonly work: Work<S>;
  readonly durable: boolean;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** So much of one transaction holds up the event loop for about a millisecond. */
const MOST = 32;

/**
 * Writes that come in the same turn of the event loop share one transaction: what a commit costs (begin, commit, a page
 * of each table and index that was touched) is paid once. With 64 steps at a time that is half the time of the records.
 *
 * None knows of the others: when one throws, all is rolled back, and each is done again in a transaction of its own, so
 * that the one that fails fails alone. A file that does not answer is no fault of any of them: all are told at once, since
 * each would wait for it as long again.
 */
export class WriteBatch<S> {
  private waiting: Waiting<S>[] = [];
  private running: Promise<void> | null = null;

  /** @param commit all works in one transaction, in order; durable: on disk when it resolves */
  private readonly commit: (works: readonly Work<S>[], durable: boolean) => Promise<unknown[]>;

  constructor(commit: (works: readonly Work<S>[], durable: boolean) => Promise<unknown[]>) {
    this.commit = commit;
  }

  add<T>(work: (sql: S) => T, durable: boolean): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.waiting.push({ work, durable, resolve, reject });
    this.running ??= this.run();
    return promise as Promise<T>;
  }

  /** When all that was added is done. */
  async settled(): Promise<void> {
    await this.running;
  }

  private async run(): Promise<void> {
    try {
      await nextTurn();
      while (this.waiting.length > 0) await this.together(this.waiting.splice(0, MOST));
    } finally {
      this.running = null;
    }
  }

  private async together(batch: readonly Waiting<S>[]): Promise<void> {
    const durable = batch.some((one) => one.durable);
    try {
      const results = await this.commit(
        batch.map(({ work }) => work),
        durable,
      );
      for (const [at, { resolve }] of batch.entries()) resolve(results[at]);
    } catch (error) {
      if (batch.length === 1 || isOfFile(error)) for (const { reject } of batch) reject(error);
      else for (const one of batch) await this.together([one]);
    }
  }
}

const isOfFile = (error: unknown): boolean =>
  isLongshoreError(error) && error.code === 'E_CATALOG_UNAVAILABLE';

/** After the input of this turn: all answers of Redis that arrived together have been dealt with. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
