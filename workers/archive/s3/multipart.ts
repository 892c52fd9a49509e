import { isLongshoreError, LongshoreError } from '../../errors.ts';
import type { PutOptions } from '../contract.ts';
import { noServer, reasonOf } from './errors.ts';
import { bareTag, etagOfParts, isOtherTag, type TaggedAnswer } from './etags.ts';
import type { BufferPool, Part, PartPlan } from './parts.ts';
import type { S3Session } from './session.ts';
import { statObject } from './stat.ts';
import { closeUpload, dropUpload, type MadeWith, openUpload, type Unfinished } from './unfinished.ts';
import { requireSize, type Sent, unequal } from './verify.ts';

export interface Transfer {
  /** Of the whole source, where that is known. */
  readonly size: number | null;
  readonly plan: PartPlan;
  readonly pool: BufferPool;
  readonly made_with: MadeWith;
  readonly options: PutOptions;
  /** Of the caller, and of the first failure. */
  readonly signal: AbortSignal;
  readonly fail: (why: unknown) => void;
}

/** Sends the parts that the server does not have, and makes them an object. */
export async function sendParts(
  session: S3Session,
  key: string,
  parts: readonly [first: Part, rest: AsyncIterable<Part>],
  transfer: Transfer,
): Promise<Sent> {
  const { options } = transfer;
  const upload = await openUpload(session, {
    key,
    task_id: options.task_id,
    plan: transfer.plan,
    made_with: transfer.made_with,
    signal: options.signal,
  });
  try {
    const sent = await send(session, key, parts, { ...transfer, upload });
    requireSize(session, key, sent.size, transfer.size);
    const answer = await complete(session, key, upload, { ...sent, signal: options.signal });
    closeUpload(session, key);
    return { answer, size: sent.size, etag: etagOfParts(sent.md5s) };
  } catch (error) {
    // The next attempt goes on with what the server has. After what is final, or no failure of ours, none may come.
    const final = !isLongshoreError(error) || error.class === 'fatal';
    if (upload.completed || reasonOf(error) === 'NoSuchUpload') closeUpload(session, key);
    else if (final) await dropUpload(session, key);
    throw error;
  } finally {
    upload.ledger.close();
  }
}

interface SentParts {
  readonly size: number;
  /** By number, from the first. */
  readonly md5s: readonly string[];
  readonly etags: readonly string[];
}

/**
 * As many parts are under way as the bytes of `concurrency` parts of the first size allow, and one more is being
 * filled: larger parts go out fewer at a time.
 */
async function send(
  session: S3Session,
  key: string,
  [first, rest]: readonly [Part, AsyncIterable<Part>],
  { plan, pool, options, signal, fail, upload }: Transfer & { upload: Unfinished },
): Promise<SentParts> {
  const room = session.options.concurrency * plan.part_bytes;
  const under_way = new Map<Promise<void>, number>();
  const md5s: string[] = [];
  const etags: string[] = [];
  let size = 0;
  let taken = 0;
  let same = true;
  const hasArrived = (part: Part, etag: string): void => {
    etags[part.number - 1] = etag;
    taken += part.bytes.length;
    options.onProgress?.(taken);
    pool.giveBack(part.bytes);
  };
  const start = (part: Part): void => {
    const sending = sendPart(session, key, upload, { part, signal })
      .then((etag) => hasArrived(part, etag), fail)
      .finally(() => under_way.delete(sending));
    under_way.set(sending, part.bytes.length);
  };
  const accept = async (part: Part): Promise<void> => {
    md5s.push(part.md5);
    size += part.bytes.length;
    const known = upload.kept.get(part.number);
    // From the first part that is another, nothing of the earlier attempt is believed.
    if (known !== undefined && (known.md5 !== part.md5 || known.size !== part.bytes.length)) same = false;
    if (known !== undefined && same) return hasArrived(part, known.etag);
    if (upload.completed)
      throw unequal(session, key, `part ${part.number}`, {
        expected: part.md5,
        actual: known?.md5 ?? 'missing',
      });
    while (under_way.size > 0 && sum(under_way.values()) + part.bytes.length > room)
      await Promise.race(under_way.keys());
    signal.throwIfAborted();
    start(part);
  };
  try {
    await accept(first);
    for await (const part of rest) await accept(part);
  } catch (error) {
    fail(error);
  }
  await Promise.all(under_way.keys());
  signal.throwIfAborted();
  return { size, md5s, etags };
}

async function sendPart(
  session: S3Session,
  key: string,
  upload: Unfinished,
  { part: { number, bytes, md5 }, signal }: { part: Part; signal: AbortSignal },
): Promise<string> {
  const answer = await session.ask(key, signal, (s3, how) =>
    s3.uploadPart(
      {
        Bucket: session.options.bucket,
        Key: key,
        UploadId: upload.upload_id,
        PartNumber: number,
        Body: bytes,
        ContentLength: bytes.length,
        ContentMD5: Buffer.from(md5, 'hex').toString('base64'),
      },
      how,
    ),
  );
  if (answer.ETag === undefined) throw noServer(session.place(key));
  const etag = bareTag(answer.ETag);
  if (isOtherTag(answer, md5)) throw unequal(session, key, `part ${number}`, { expected: md5, actual: etag });
  upload.ledger.add({ number, size: bytes.length, md5, etag });
  return etag;
}

async function complete(
  session: S3Session,
  key: string,
  { upload_id, confirmed, completed }: Unfinished,
  { etags, md5s, size, signal }: SentParts & { signal: AbortSignal | undefined },
): Promise<TaggedAnswer> {
  if (completed) return { ETag: etagOfParts(md5s) };
  const Parts = etags.map((etag, index) => ({ ETag: `"${etag}"`, PartNumber: index + 1 }));
  try {
    const answer = await session.ask(key, signal, (s3, how) =>
      s3.completeMultipartUpload(
        { Bucket: session.options.bucket, Key: key, UploadId: upload_id, MultipartUpload: { Parts } },
        how,
      ),
    );
    // The parts stay, and the next attempt finds out whether they have become the object.
    if (answer.ETag === undefined) throw noServer(session.place(key));
    return answer;
  } catch (error) {
    const reason = reasonOf(error);
    if (reason === 'NoSuchUpload') {
      // The SDK asked twice, because the first answer was lost.
      const found = await statObject(session, key, signal);
      if (found?.size === size && found.etag === etagOfParts(md5s)) return { ETag: found.etag };
    }
    if (confirmed && reason !== 'InvalidPart') throw error;
    if (!isLongshoreError(error) || typeof error.fields.status !== 'number') throw error;
    // What the ledger said of this server is not so. Without it the next attempt sends everything.
    await dropUpload(session, key);
    const { archive, location } = session.place(key);
    throw new LongshoreError('E_TRANSFER', `the server does not have all parts of ${location} (${reason})`, {
      fields: { archive, location, reason },
      cause: error,
    });
  }
}

const sum = (numbers: Iterable<number>): number => {
  let all = 0;
  for (const one of numbers) all += one;
  return all;
};
