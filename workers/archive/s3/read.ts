import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import { isAbsence, noServer, reasonOf, s3Error } from './errors.ts';
import { bareTag } from './etags.ts';
import { guarded } from './guard.ts';
import type { S3Session } from './session.ts';
import { missing, requireBucket } from './stat.ts';

export interface Range {
  readonly offset: number;
  /** Default: all that follow. */
  readonly length?: number | undefined;
  /** Of the object that is meant. Default: of the one that the first answer is from. */
  readonly etag?: string;
}

/** Waits after a break. A stream may break so often before it has come `FRESH_BYTES` further. */
const WAITS_MS = [100, 500, 2000, 5000];
const FRESH_BYTES = 256 * 1024 ** 2;

/**
 * The bytes of an object. A stream that breaks, or is silent for `stall_seconds`, is continued where it broke. All
 * bytes are of one object: one that took its place meanwhile is noticed by its ETag.
 * @throws E_BUNDLE_MISSING, E_TRANSFER, E_ARCHIVE_UNAVAILABLE
 */
export async function* readObject(
  session: S3Session,
  key: string,
  { offset, length, etag: meant }: Range,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer> {
  const { stall_seconds } = session.options;
  let etag = meant;
  let end = length === undefined ? null : offset + length;
  let at = offset;
  let begun = false;
  let breaks = 0;
  let fresh_at = offset + FRESH_BYTES;
  for (;;) {
    try {
      const answer = await request(session, key, { at, end, etag }, signal);
      if (answer === null) return;
      begun = true;
      etag ??= answer.etag;
      end = Math.min(end ?? answer.size, answer.size);
      try {
        for await (const chunk of guarded(answer.body, { signal, stall_seconds })) {
          const wanted = chunk.subarray(0, end - at); // A server may send more than it was asked for.
          at += wanted.length;
          yield wanted;
          if (at >= end) return;
        }
      } finally {
        answer.body.destroy();
      }
      if (at >= end) return;
      throw new Error(`the answer ended ${end - at} bytes early`);
    } catch (error) {
      signal?.throwIfAborted();
      const failure = s3Error(error, session.place(key));
      if (at >= fresh_at) {
        breaks = 0;
        fresh_at = at + FRESH_BYTES;
      }
      const wait = WAITS_MS[breaks];
      // The first request has had the SDK's own retries.
      const passing = failure.code === 'E_ARCHIVE_UNAVAILABLE' && failure.class === 'retryable';
      if (!begun || !passing || wait === undefined) throw failure;
      breaks += 1;
      await sleep(wait, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
  }
}

interface Answer {
  readonly body: Readable;
  readonly etag: string;
  /** Of the whole object. */
  readonly size: number;
}

/** Null: there are no bytes at this place. */
async function request(
  session: S3Session,
  key: string,
  { at, end, etag }: { at: number; end: number | null; etag: string | undefined },
  signal: AbortSignal | undefined,
): Promise<Answer | null> {
  const whole = at === 0 && end === null;
  try {
    const answer = await session.ask(key, signal, (s3, how) =>
      s3.getObject(
        {
          Bucket: session.options.bucket,
          Key: key,
          ...(whole ? {} : { Range: `bytes=${at}-${end === null ? '' : end - 1}` }),
          ...(etag === undefined || etag === '' ? {} : { IfMatch: `"${etag}"` }),
        },
        how,
      ),
    );
    const body = answer.Body as Readable;
    if (answer.ETag === undefined) throw discard(body, noServer(session.place(key)));
    const found = bareTag(answer.ETag);
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.ContentRange ?? '') ?? [];
    if (etag !== undefined && found !== etag) throw discard(body, replaced(session, key));
    if (Number(from ?? 0) !== at) throw discard(body, misplaced(session, key, at));
    return { body, etag: found, size: Number(total ?? answer.ContentLength ?? 0) };
  } catch (error) {
    if (reasonOf(error) === 'InvalidRange' && etag === undefined) return null;
    if (['InvalidRange', 'PreconditionFailed'].includes(reasonOf(error))) throw replaced(session, key, error);
    if (!isLongshoreError(error) || !isAbsence(error)) throw error;
    if (reasonOf(error) !== 'NoSuchKey') await requireBucket(session, signal);
    throw missing(session, key, error);
  }
}

function discard(body: Readable, why: LongshoreError): LongshoreError {
  body.destroy();
  return why;
}

function replaced(session: S3Session, key: string, cause?: unknown): LongshoreError {
  const { archive, location } = session.place(key);
  return new LongshoreError('E_TRANSFER', `${location} was replaced while it was read`, {
    fields: { archive, location },
    cause,
  });
}

function misplaced(session: S3Session, key: string, at: number): LongshoreError {
  const { archive, location } = session.place(key);
  return new LongshoreError('E_TRANSFER', `asked for ${location} from byte ${at}, got it from another`, {
    fields: { archive, location, at },
  });
}
