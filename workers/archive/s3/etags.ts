/** ETags, and what they say of the bytes behind them. */
import { createHash } from 'node:crypto';

/** What the server says of an object or a part that it has taken. */
export interface TaggedAnswer {
  readonly ETag?: string | undefined;
  readonly ServerSideEncryption?: string | undefined;
  readonly SSECustomerAlgorithm?: string | undefined;
}

const MD5 = /^[0-9a-f]{32}$/;
const MULTIPART = /^[0-9a-f]{32}-\d+$/;

/** `"…"` and `W/"…"` as the bare tag; '' for none. */
export const bareTag = (etag: string | undefined): string =>
  (etag ?? '').replace(/^W\//, '').replaceAll('"', '');

/** The MD5 that the ETag is, or null. Encrypted with keys that are not S3's own, an ETag looks like one and is none. */
export function md5Of(answer: TaggedAnswer): string | null {
  const etag = bareTag(answer.ETag).toLowerCase();
  return !isOpaque(answer) && MD5.test(etag) ? etag : null;
}

/** Whether the ETag has the form of the expected one (an MD5, or that of an object of parts), and is another. */
export function isOtherTag(answer: TaggedAnswer, expected: string): boolean {
  const etag = bareTag(answer.ETag).toLowerCase();
  const form = MULTIPART.test(expected) ? MULTIPART : MD5;
  return !isOpaque(answer) && form.test(etag) && etag !== expected;
}

/** What S3 and most others state as the ETag of an object of several parts. */
export function etagOfParts(md5s: readonly string[]): string {
  const all = createHash('md5');
  for (const md5 of md5s) all.update(md5, 'hex');
  return `${all.digest('hex')}-${md5s.length}`;
}

const isOpaque = ({ ServerSideEncryption, SSECustomerAlgorithm }: TaggedAnswer): boolean =>
  ServerSideEncryption?.startsWith('aws:kms') === true || SSECustomerAlgorithm !== undefined;
