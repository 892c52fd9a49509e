import { LongshoreError } from '../../errors.ts';
import type { ArchivedObject, ListedObject } from '../contract.ts';
import { isAbsence, noBucket, noServer } from './errors.ts';
import { bareTag, md5Of, type TaggedAnswer } from './etags.ts';
import type { S3Session } from './session.ts';

export interface StatedObject extends ArchivedObject {
  readonly etag: string;
}

type Signal = AbortSignal | undefined;

/** @throws E_ARCHIVE_UNAVAILABLE, E_ARCHIVE_DENIED */
export async function requireBucket(session: S3Session, signal: Signal): Promise<void> {
  const { bucket: Bucket } = session.options;
  try {
    await session.ask(null, signal, (s3, how) => s3.headBucket({ Bucket }, how));
  } catch (error) {
    if (!isAbsence(error)) throw error;
    throw noBucket(session.place(null), error);
  }
}

/** Null only when the bucket is there: HEAD says 404 of a missing bucket as of a missing key. */
export async function statObject(
  session: S3Session,
  key: string,
  signal: Signal,
): Promise<StatedObject | null> {
  const { bucket: Bucket } = session.options;
  try {
    const head = await session.ask(key, signal, (s3, how) => s3.headObject({ Bucket, Key: key }, how));
    if (head.ETag === undefined) throw noServer(session.place(key));
    return statedOf(head);
  } catch (error) {
    if (!isAbsence(error)) throw error;
    await requireBucket(session, signal);
    return null;
  }
}

/** @throws E_BUNDLE_MISSING */
export async function requireObject(session: S3Session, key: string, signal: Signal): Promise<StatedObject> {
  const found = await statObject(session, key, signal);
  if (found === null) throw missing(session, key);
  return found;
}

export function missing(session: S3Session, key: string, cause?: unknown): LongshoreError {
  const { archive, location } = session.place(key);
  return new LongshoreError('E_BUNDLE_MISSING', `the archive holds nothing at ${location}`, {
    fields: { archive, path: location },
    cause,
  });
}

/** Keys of the bucket, a thousand at a time. */
export async function* listObjects(
  session: S3Session,
  prefix: string,
  signal: Signal,
): AsyncGenerator<ListedObject> {
  const { bucket: Bucket } = session.options;
  let token: string | undefined;
  do {
    const after = token === undefined ? {} : { ContinuationToken: token };
    const page = await session.ask(prefix, signal, (s3, how) =>
      s3.listObjectsV2({ Bucket, Prefix: prefix, EncodingType: 'url', ...after }, how),
    );
    if (page.IsTruncated === undefined) throw noServer(session.place(prefix), 'end of a list');
    // Where the server does as asked: XML cannot hold every character that a key can.
    const decode = page.EncodingType === 'url' ? decoded : (text: string): string => text;
    for (const { Key, Size } of page.Contents ?? [])
      if (Key !== undefined) yield { key: decode(Key), size: Size ?? 0 };
    token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
  } while (token !== undefined);
}

const decoded = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '));

interface Head extends TaggedAnswer {
  readonly ContentLength?: number | undefined;
  readonly LastModified?: Date | undefined;
}

function statedOf(head: Head): StatedObject {
  const md5 = md5Of(head);
  return {
    size: head.ContentLength ?? 0,
    modified: head.LastModified ?? null,
    digests: md5 === null ? {} : { md5 },
    etag: bareTag(head.ETag),
  };
}
