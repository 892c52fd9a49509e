import { MongoNetworkError, MongoServerError, MongoServerSelectionError } from 'mongodb';
import { expect, test } from 'vitest';
import { isAway, mongoFailure } from '../../workers/mongodb/failure.ts';

const answered = (code: number): MongoServerError => new MongoServerError({ message: 'said so', code });

test.each([
  ['wrong credentials', answered(18), 'E_MONGODB_DENIED', 'operator'],
  ['what the user may not do', answered(13), 'E_MONGODB_DENIED', 'operator'],
  ['a full disk', answered(14031), 'E_NO_SPACE', 'operator'],
  ['a value that it does not take', answered(2), 'E_VALUE', 'fatal'],
  ['a document that is too large', answered(10334), 'E_VALUE', 'fatal'],
  ['a server that is no primary any more', answered(10107), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a server that shuts down', answered(91), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  ['a broken connection', new MongoNetworkError('gone'), 'E_MONGODB_UNAVAILABLE', 'retryable'],
  [
    'a socket that breaks while a command is written',
    Object.assign(new Error('write ECONNRESET'), { code: 'ECONNRESET', syscall: 'write' }),
    'E_MONGODB_UNAVAILABLE',
    'retryable',
  ],
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
