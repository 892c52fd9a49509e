import { LongshoreError } from '../../errors.ts';
import type { ArchivedObject } from '../contract.ts';
import { bareTag, isOtherTag, type TaggedAnswer } from './etags.ts';
import type { S3Session } from './session.ts';
import { statObject } from './stat.ts';

/** What has arrived, as far as the server says so. */
export interface Sent {
  readonly answer: TaggedAnswer;
  readonly size: number;
  /** As S3 states it for these bytes; some servers state another of their own making. */
  readonly etag: string;
}

/** Asks the server what it has now. What differs from what was sent is removed, unless it is somebody else's already. */
export async function verify(
  session: S3Session,
  key: string,
  { answer, size, etag }: Sent,
  signal: AbortSignal | undefined,
): Promise<ArchivedObject> {
  const found = await statObject(session, key, signal);
  if (found?.size === size && !isOtherTag(answer, etag)) {
    const { modified, digests } = found;
    return { size, modified, digests };
  }
  if (found !== null && found.etag === bareTag(answer.ETag))
    await session.ask(key, signal, (s3, how) =>
      s3.deleteObject({ Bucket: session.options.bucket, Key: key }, how),
    );
  throw found?.size === size
    ? unequal(session, key, 'the object', { expected: etag, actual: bareTag(answer.ETag) })
    : unequal(session, key, 'the object', { expected: size, actual: found?.size ?? 'missing' });
}

export function unequal(
  session: S3Session,
  key: string,
  what: string,
  { expected, actual }: { expected: string | number; actual: string | number },
): LongshoreError {
  const { archive, location } = session.place(key);
  return new LongshoreError('E_TRANSFER', `${what} for ${location} is ${actual}; expected ${expected}`, {
    fields: { archive, location, expected, actual },
  });
}

/** @throws E_TRANSFER when the source gave more or less than it had said */
export function requireSize(session: S3Session, key: string, sent: number, size: number | null): void {
  if (size !== null && sent !== size)
    throw unequal(session, key, 'the source', { expected: size, actual: sent });
}
