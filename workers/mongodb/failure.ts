/** What the driver and the server report, as codes of ours. */
import { MongoBulkWriteError, MongoError, MongoNetworkError, MongoServerError } from 'mongodb';
import { LongshoreError } from '../errors.ts';
import { isSocketFailure } from '../socket-failure.ts';

/** Codes of the server (mongodb.com/docs/manual/reference/error-codes). */
const DUPLICATE_KEY = 11000;
const NAMESPACE_NOT_FOUND = 26;
const OUT_OF_DISK = 14031;
/** A value that the server does not take, or a document that is too large. */
const NOT_TAKEN = new Set([2, 10334, 17419, 17420]);
/** Wrong credentials, or what they may not do. */
const DENIED = new Set([13, 18, 8000]);
/**
 * Shutting down, stepping down, no primary yet, cut off: the same request succeeds with the next primary. So does one that
 * was in another's way (112, 365), one that was done and not acknowledged by a majority in time (64), and a question whose
 * cursor went with the server that had it (43, 175, 237): it is asked again as a whole.
 */
const PASSING = new Set([
  6, 7, 43, 64, 89, 91, 112, 133, 134, 175, 189, 237, 262, 317, 365, 9001, 10058, 10107, 11600, 11602, 13435,
  13436,
]);
/** What a server calls so is to be asked again: one that has too much to do is not away, and has done nothing. */
const AGAIN = ['RetryableWriteError', 'RetryableError'];

export const isDuplicateKey = (error: unknown): boolean =>
  error instanceof MongoServerError && error.code === DUPLICATE_KEY;

export const isMissingNamespace = (error: unknown): boolean =>
  error instanceof MongoServerError && error.code === NAMESPACE_NOT_FOUND;

/** True where the server is away, or on its way to another primary: to be asked again. */
export function isAway(error: unknown): boolean {
  // A bulk of writes hides what it met, also what is no error of MongoDB.
  if (error instanceof MongoBulkWriteError && (error.errorResponse as unknown) instanceof Error)
    return isAway(error.errorResponse);
  if (error instanceof MongoServerError) {
    return PASSING.has(Number(error.code)) || AGAIN.some((label) => error.hasErrorLabel(label));
  }
  // The driver passes on as it is what a socket says that breaks while a command is written.
  if (error instanceof MongoNetworkError || isSocketFailure(error)) return true;
  return error instanceof MongoError && AWAY.has(error.name);
}

const AWAY = new Set([
  'MongoServerSelectionError',
  'MongoPoolClearedError',
  'MongoPoolClosedError',
  'MongoWaitQueueTimeoutError',
  'MongoOperationTimeoutError',
  'MongoTopologyClosedError',
  'MongoServerClosedError',
  // Of a client that is being closed, or was and is about to be connected anew.
  'MongoClientClosedError',
  'MongoNotConnectedError',
]);

/** Gives what the server reports a code of ours; everything else passes through as it is. Never names the URL. */
export function mongoFailure(error: unknown, database: string): unknown {
  if (!(error instanceof MongoError || isSocketFailure(error))) return error;
  const fields = { database, mongodb: error.message, code: error.code ?? null };
  if (isAway(error)) {
    return new LongshoreError('E_MONGODB_UNAVAILABLE', `MongoDB does not answer: ${error.message}`, {
      fields,
      cause: error,
    });
  }
  if (DENIED.has(Number(error.code))) {
    return new LongshoreError('E_MONGODB_DENIED', `MongoDB refuses: ${error.message}`, {
      fields,
      cause: error,
    });
  }
  if (error.code === OUT_OF_DISK) {
    return new LongshoreError('E_NO_SPACE', `the disk of MongoDB is full: ${error.message}`, {
      fields,
      cause: error,
    });
  }
  if (NOT_TAKEN.has(Number(error.code))) {
    return new LongshoreError('E_VALUE', `MongoDB does not take what was to be recorded: ${error.message}`, {
      fields,
      cause: error,
    });
  }
  return error;
}
