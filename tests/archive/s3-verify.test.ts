import { expect, test } from 'vitest';
import type { S3Session } from '../../workers/archive/s3/session.ts';
import { type Sent, verify } from '../../workers/archive/s3/verify.ts';

const MD5 = { sent: 'a'.repeat(32), other: 'b'.repeat(32) };

/** What becomes of bytes that were sent, when the server says this of them, and then has an object like that. */
async function verified(sent: Sent, has: { size: number; etag: string }): Promise<[string, string[]]> {
  const asked: string[] = [];
  const s3 = {
    headObject: async () => {
      asked.push('head');
      return { ContentLength: has.size, ETag: `"${has.etag}"` };
    },
    deleteObject: async () => asked.push('delete'),
  };
  const session = {
    options: { bucket: 'b' },
    place: () => ({ archive: 's3', location: 's3://b/k' }),
    ask: async (_: string, __: undefined, question: (with_s3: unknown) => Promise<unknown>) => question(s3),
  } as unknown as S3Session;
  const end = await verify(session, 'k', sent, undefined).then(
    ({ size }) => `${size} bytes`,
    (error: Error) => error.message,
  );
  return [end, asked];
}

const sent = (etag: string): Sent => ({ answer: { ETag: `"${etag}"` }, size: 3, etag: MD5.sent });

test('an object that is what was sent is stored', async () => {
  const done = await verified(sent(MD5.sent), { size: 3, etag: MD5.sent });
  expect(done).toEqual(['3 bytes', ['head']]);
});

test('one that has another size or other bytes than were sent is removed', async () => {
  const [short, asked] = await verified(sent(MD5.sent), { size: 2, etag: MD5.sent });
  expect([short, asked]).toEqual([expect.stringContaining('is 2; expected 3'), ['head', 'delete']]);
  const [other, then] = await verified(sent(MD5.other), { size: 3, etag: MD5.other });
  expect([other, then]).toEqual([expect.stringContaining(`is ${MD5.other}`), ['head', 'delete']]);
});

test('one that somebody else has put there meanwhile is told, and stays', async () => {
  const [end, asked] = await verified(sent(MD5.sent), { size: 9, etag: MD5.other });
  expect([end, asked]).toEqual([expect.stringContaining('is 9; expected 3'), ['head']]);
});
