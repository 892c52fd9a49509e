import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { ArchivedObject, PutOptions, PutSource } from '../contract.ts';
import { noServer } from './errors.ts';
import { guarded } from './guard.ts';
import { sendParts } from './multipart.ts';
import { createPool, cutParts, type Part, planParts } from './parts.ts';
import type { S3Session } from './session.ts';
import { forgetUpload, type MadeWith } from './unfinished.ts';
import { requireSize, type Sent, verify } from './verify.ts';

/**
 * Stores an object: what fits into one part by one request, which S3 makes visible whole or not at all; anything
 * larger as parts that become an object when all are there. Every request carries the MD5 of its bytes, and the ETag
 * that comes back is compared with it.
 */
export async function putObject(
  session: S3Session,
  key: string,
  source: PutSource,
  options: PutOptions,
): Promise<ArchivedObject> {
  options.signal?.throwIfAborted();
  const size = 'file' in source ? (await stat(source.file)).size : source.size;
  const plan = planParts(session.options.part_bytes, size);
  const pool = createPool();
  const made_with = madeWith(session, source);
  const failed = new AbortController();
  const signal = AbortSignal.any([failed.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const parts = cutParts(guarded(bytesOf(source), { signal }), plan, pool);
  try {
    const first = await parts.next();
    if (first.done === true) throw new Error('a stream is cut into one part at least');
    const sent = first.value.last
      ? await sendWhole(session, key, first.value, { size, made_with, options })
      : await sendParts(session, key, [first.value, parts], {
          size,
          plan,
          pool,
          made_with,
          options,
          signal,
          fail: (why) => failed.abort(why),
        });
    return await verify(session, key, sent, options.signal);
  } finally {
    await parts.return(undefined);
  }
}

async function sendWhole(
  session: S3Session,
  key: string,
  { bytes, md5 }: Part,
  { size, made_with, options }: { size: number | null; made_with: MadeWith; options: PutOptions },
): Promise<Sent> {
  requireSize(session, key, bytes.length, size);
  await forgetUpload(session, key, options.signal);
  const answer = await session.ask(key, options.signal, (s3, how) =>
    s3.putObject(
      {
        Bucket: session.options.bucket,
        Key: key,
        Body: bytes,
        ContentLength: bytes.length,
        ContentMD5: Buffer.from(md5, 'hex').toString('base64'),
        ...made_with,
      },
      how,
    ),
  );
  // Nothing was put then, and what lies there from before may be as long.
  if (answer.ETag === undefined) throw noServer(session.place(key));
  options.onProgress?.(bytes.length);
  return { answer, size: bytes.length, etag: md5 };
}

function madeWith({ options }: S3Session, source: PutSource): MadeWith {
  const { md5, blake3 } = 'file' in source ? (source.digests ?? {}) : {};
  return {
    Metadata: { ...(md5 === undefined ? {} : { md5 }), ...(blake3 === undefined ? {} : { blake3 }) },
    ...(options.storage_class === null
      ? {}
      : { StorageClass: options.storage_class as NonNullable<MadeWith['StorageClass']> }),
  };
}

const bytesOf = (source: PutSource): AsyncIterable<Buffer> =>
  'file' in source ? createReadStream(source.file, { highWaterMark: 1024 * 1024 }) : source.stream;
