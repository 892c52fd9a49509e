import type { S3 } from '@aws-sdk/client-s3';
import { type S3Place, s3Error } from './errors.ts';

export interface S3Options {
  /** Of the back end in the configuration. */
  readonly name: string;
  /** Of this host: the ledgers of unfinished uploads lie there. */
  readonly state_dir: string;
  readonly bucket: string;
  /** Null: AWS. */
  readonly endpoint: string | null;
  readonly region: string;
  /** Put before every key, with its slash. */
  readonly prefix: string;
  /** Null: as the SDK finds them. */
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string } | null;
  readonly storage_class: string | null;
  readonly force_path_style: boolean;
  readonly part_bytes: number;
  readonly concurrency: number;
  readonly stall_seconds: number;
}

/** Requests to one bucket. All keys are those of the bucket, with the prefix. */
export interface S3Session {
  readonly options: S3Options;
  /** One request, tried again by the SDK a few times. @throws what `s3Error` makes of the SDK's errors, or the reason of `signal` */
  ask<T>(
    key: string | null,
    signal: AbortSignal | undefined,
    question: (s3: S3, options: { abortSignal?: AbortSignal }) => Promise<T>,
  ): Promise<T>;
  /** For errors about this key. */
  place(key: string | null): S3Place;
}

/** Of the SDK, for one request: 0.1, 0.2 and 0.4 s between them. Outages that last are the business of the task's retries. */
const ATTEMPTS = 4;
const CONNECT_MS = 10_000;

export function createSession(options: S3Options): S3Session {
  let client: Promise<S3> | null = null;
  const place = (key: string | null): S3Place => ({
    archive: options.name,
    bucket: options.bucket,
    location: `s3://${options.bucket}${key === null ? '' : `/${key}`}`,
    endpoint: options.endpoint,
  });
  return {
    options,
    place,
    ask: async (key, signal, question) => {
      signal?.throwIfAborted();
      client ??= connect(options);
      const s3 = await client;
      try {
        if (signal === undefined) return await question(s3, {});
        return await orAborted(question(s3, { abortSignal: signal }), signal);
      } catch (error) {
        signal?.throwIfAborted();
        throw s3Error(error, place(key));
      }
    },
  };
}

/** The SDK ends a request with its signal, but not the wait before the next attempt. */
function orAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort);
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/**
 * The SDK is loaded by the first request: it costs 100 ms and 25 MB, and every task of the fleet is a process of its
 * own, most of which never meet this archive. Free connections are unreferenced by Node and hold up no exit.
 *
 * Checksums only where S3 demands them: the SDK's default, a CRC32 in a trailer, is refused by many servers that are
 * otherwise compatible. Content-MD5 is understood by all.
 */
async function connect(options: S3Options): Promise<S3> {
  const { S3 } = await import('@aws-sdk/client-s3');
  return new S3({
    region: options.region,
    ...(options.endpoint === null ? {} : { endpoint: options.endpoint }),
    ...(options.credentials === null ? {} : { credentials: options.credentials }),
    forcePathStyle: options.force_path_style,
    maxAttempts: ATTEMPTS,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      socketTimeout: options.stall_seconds * 1000,
    },
  });
}
