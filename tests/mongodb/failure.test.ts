import {
  MongoBulkWriteError,
  MongoClientClosedError,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
  MongoWriteConcernError,
} from 'mongodb';
import { expect, test } from 'vitest';
import { isAway, mongoFailure } from '../../workers/mongodb/failure.ts';

const answered = (code: number): MongoServerError => new MongoServerError({ message: 'said so', code });
const broken = (): Error =>
  Object.assign(new Error('write ECONNRESET'), { code: 'ECONNRESET', syscall: 'write' });
const notReplicated = (code: number): MongoWriteConcernError =>
  new MongoWriteConcernError({ ok: 1, writeConcernError: { code, errmsg: 'waiting for replication' } });
/** As the driver puts whatever a bulk of writes meets. */
const inBulk = (met: Error): MongoBulkWriteError => new MongoBulkWriteError(met, {} as never);

test.each([
  ['wrong credentials', answered(18), 'E_MONGODB_DENIED', 'operator'],
  ['what the user may not do', answered(13), 'E_MONGODB_DENIED', 'operator'],
  ['a full disk', answered(14031), 'E_NO_SPACE', 'operator'],
  ['a value that it does not take', answered(2), 'E_VALUE', 'fatal'],
  ['a document that is too large', answered(10334), 'E_VALUE', 'fatal'],
  ['a server that is no primary any more', answered(10107), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a server that shuts down', answered(91), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a broken connection', new MongoNetworkError('gone'), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a socket that breaks while a command is written', broken(), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['the same in a bulk of writes', inBulk(broken()), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['no primary for a bulk of writes', inBulk(answered(10107)), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a primary that went before others had it', notReplicated(189), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a majority that is late', notReplicated(64), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a cursor that went with its server', answered(43), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a write in the way of another', answered(112), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  [
    'a server with too much to do',
    new MongoServerError({
      message: 'busy',
      code: 462,
      errorLabels: ['SystemOverloadedError', 'RetryableError'],
    }),
    'E_MONGODB_UNAVAILABLE',
    'retryable',
  ],
  ['a client that was closed', new MongoClientClosedError(), 'E_MONGODB_UNAVAILABLE', 'retryable'],
])('%s has a code and a class', (_, error, code, kind) => {
  expect(mongoFailure(error, 'db')).toMatchObject({ code, class: kind, fields: { database: 'db' } });
  expect(isAway(error)).toBe(code === 'E_MONGODB_UNAVAILABLE');
});

test('no server at all is an outage; an error of ours, or of the request, passes through as it is', () => {
  const none = Object.assign(Object.create(MongoServerSelectionError.prototype) as Error, {
    message: 'none',
  });
  expect(isAway(none)).toBe(true);
  const refused = answered(121);
  for (const error of [new Error('ours'), refused, answered(11000)])
    expect(mongoFailure(error, 'db')).toBe(error);
});
