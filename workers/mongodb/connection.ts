/**
 * One client for one database, shared by catalog and records of a process.
 *
 * A server that is away (restarted, cut off, electing a primary) is waited for here: every single operation is asked for
 * again, with growing pauses, until `mongodb.patience_seconds` are over. So an outage of a minute delays what jobs record
 * and fails none of them. An operation may have been done although its answer was lost; who asks for something that must
 * not happen twice writes a token along with it (see change.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Collection, type Db, type Document, MongoClient } from 'mongodb';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import { isAway, mongoFailure } from './failure.ts';
import { linkOf } from './link.ts';
import { type OutageTeller, outageTeller } from './outage.ts';

export interface Mongo {
  readonly database: string;
  collection<D extends Document>(name: string): Collection<D>;
  /** Repeats `once` while the server is away. @throws E_MONGODB_UNAVAILABLE, E_MONGODB_DENIED, E_NO_SPACE */
  run<T>(once: () => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5_000;
/** Short, since the waiting is done here, where it can be seen and ends when the process is closed. */
const SELECTION_MS = 2_000;
/** An operation is given up after the time of so many: it finds a server, connects, asks, and the driver repeats it once. */
const ANSWERS = 4;

/**
 * @param patience_seconds of each operation, once the server was reached
 * @throws E_CONFIG, E_MONGODB_UNAVAILABLE, E_MONGODB_DENIED
 */
export async function connectMongo(
  { mongodb }: Config,
  patience_seconds = mongodb.patience_seconds,
): Promise<Mongo> {
  const { client, db } = clientOf(mongodb);
  const { answer_seconds } = mongodb;
  const longest = Math.min(answer_seconds * ANSWERS, Math.max(answer_seconds, patience_seconds));
  const link = linkOf(client, () => db.command({ ping: 1 }), longest);
  const closing = new AbortController();
  const outage = outageTeller(db.databaseName);
  const patience = (seconds: number): Patience => ({ ms: seconds * 1000, closing: closing.signal, outage });
  const ask = <T>(once: () => Promise<T>, seconds: number): Promise<T> =>
    patiently(() => link.ask(once), db.databaseName, patience(seconds));
  try {
    await ask(async () => undefined, mongodb.patience_seconds);
  } catch (error) {
    await link.close();
    throw error;
  }
  return {
    database: db.databaseName,
    collection: <D extends Document>(name: string) => db.collection<D>(name),
    run: (once) => ask(once, patience_seconds),
    close: async () => {
      closing.abort();
      await link.close();
    },
  };
}

/** @throws E_CONFIG where the driver cannot make sense of the URL. What it says never holds the password. */
function clientOf({ url, database, answer_seconds }: Config['mongodb']): { client: MongoClient; db: Db } {
  if (url === null) {
    throw new LongshoreError('E_CONFIG', 'mongodb.url is not set; expected the URL of a server');
  }
  try {
    const client = new MongoClient(url, {
      appName: 'longshore',
      serverSelectionTimeoutMS: SELECTION_MS,
      connectTimeoutMS: 5_000,
      socketTimeoutMS: answer_seconds * 1000,
      // What was answered as written survives the loss of the primary.
      writeConcern: { w: 'majority', j: true },
      readPreference: 'primary',
      ignoreUndefined: true,
    });
    return { client, db: databaseOf(client, database) };
  } catch (error) {
    // Nothing is asked of a server yet. Its classes tell nothing: what parses URLs is a package with errors of its own.
    const { message } = error as Error;
    throw new LongshoreError(
      'E_CONFIG',
      `mongodb.url cannot be used: ${message}; expected mongodb://[user:password@]host[:port][,more hosts]/[database][?options], with user and password percent-encoded`,
    );
  }
}

/** The configured name, else the one in the URL, else ours; the driver's own default is `test`. */
function databaseOf(client: MongoClient, configured: string | null): Db {
  const inUrl = client.options.dbName;
  return client.db(configured ?? (inUrl === 'test' ? 'longshore' : inUrl));
}

interface Patience {
  ms: number;
  closing: AbortSignal;
  outage: OutageTeller;
}

async function patiently<T>(
  once: () => Promise<T>,
  database: string,
  { ms, closing, outage }: Patience,
): Promise<T> {
  const begun = performance.now();
  for (let turn = 0; ; turn++) {
    try {
      const answer = await once();
      await outage.isOver();
      return answer;
    } catch (error) {
      const waited = performance.now() - begun;
      if (!isAway(error) || closing.aborted || waited > ms) throw mongoFailure(error, database);
      await outage.goesOn(waited, error);
      await pauseAfter(turn, closing);
      // A client that is closed says that it was never connected.
      if (closing.aborted) throw mongoFailure(error, database);
    }
  }
}

/** Random, so that a fleet does not come back in step. */
async function pauseAfter(turn: number, closing: AbortSignal): Promise<void> {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** turn, LONGEST_PAUSE_MS);
  const pause = sleep(longest / 2 + (Math.random() * longest) / 2, undefined, { signal: closing });
  await pause.catch(() => undefined); // Closing ends it.
}
