/** What a read makes of answers that are not what was asked for. */
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { readObject, type Range } from '../../workers/archive/s3/read.ts';
import type { S3Session } from '../../workers/archive/s3/session.ts';
import { gather } from '../support/gather.ts';

interface Answer {
  readonly bytes: string;
  readonly etag?: string;
  /** Of the object of ten bytes that `bytes` begins at; default: as asked. */
  readonly from?: number;
}

const OBJECT = '0123456789';

/** Reads with these answers, one after the other; gives what came and the ranges that were asked for. */
async function read(
  range: Range,
  ...answers: Answer[]
): Promise<{ came: string; asked: (string | undefined)[] }> {
  const asked: (string | undefined)[] = [];
  const getObject = async ({ Range: wanted }: { Range?: string }) => {
    asked.push(wanted);
    const { bytes, etag = 'one', from } = answers.shift() ?? { bytes: '' };
    const at = from ?? Number(/\d+/.exec(wanted ?? '')?.[0] ?? 0);
    const Body = Readable.from([Buffer.from(bytes)]);
    return { Body, ETag: `"${etag}"`, ContentRange: `bytes ${at}-${OBJECT.length - 1}/${OBJECT.length}` };
  };
  const session = {
    options: { bucket: 'b', stall_seconds: 5 },
    place: () => ({ archive: 's3', bucket: 'b', location: 's3://b/k', endpoint: null }),
    ask: async (_: string, __: undefined, question: (s3: unknown) => Promise<unknown>) =>
      question({ getObject }),
  } as unknown as S3Session;
  const came = Buffer.concat(await gather(readObject(session, 'k', range, undefined))).toString();
  return { came, asked };
}

test('an answer that ends early is no end of the object: the rest is asked for', async () => {
  expect(await read({ offset: 0 }, { bytes: '0123' }, { bytes: '456789' })).toEqual({
    came: OBJECT,
    asked: [undefined, 'bytes=4-9'],
  });
});

test('of an answer with more than was asked for only that counts', async () => {
  expect((await read({ offset: 2, length: 3 }, { bytes: '23456789' })).came).toBe('234');
});

test('bytes of another place, or of an object that took its place, are refused', async () => {
  await expect(read({ offset: 4 }, { bytes: OBJECT, from: 0 })).rejects.toMatchObject({
    code: 'E_TRANSFER',
    message: expect.stringContaining('from byte 4'),
  });
  const replaced = { code: 'E_TRANSFER', message: expect.stringContaining('was replaced while it was read') };
  await expect(read({ offset: 0, etag: 'two' }, { bytes: OBJECT })).rejects.toMatchObject(replaced);
  const other = read({ offset: 0 }, { bytes: '0123' }, { bytes: '456789', etag: 'two' });
  await expect(other).rejects.toMatchObject(replaced);
});
