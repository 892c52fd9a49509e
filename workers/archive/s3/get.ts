import { continueGet, endGet } from '../continued-get.ts';
import type { ArchivedObject, GetOptions } from '../contract.ts';
import { readObject } from './read.ts';
import type { S3Session } from './session.ts';
import { requireObject } from './stat.ts';
import { unequal } from './verify.ts';

/** Fetches an object into a file, from where an earlier attempt at the same object has come to. */
export async function getObject(
  session: S3Session,
  key: string,
  target: string,
  { signal, onProgress }: GetOptions,
): Promise<ArchivedObject> {
  const found = await requireObject(session, key, signal);
  const { md5: expected } = found.digests;
  const { size, digests } = await continueGet({
    target,
    location: session.place(key).location,
    version: found.etag,
    size: found.size,
    md5: expected !== undefined,
    read: (offset) => readObject(session, key, { offset, etag: found.etag }, signal),
    signal,
    onProgress,
  });
  const sound = size === found.size && digests.md5 === expected;
  endGet(target, sound);
  if (sound) return { size, modified: found.modified, digests: found.digests };
  throw size === found.size
    ? unequal(session, key, 'the MD5 of what came', { expected: expected ?? '', actual: digests.md5 ?? '' })
    : unequal(session, key, 'the size of what came', { expected: found.size, actual: size });
}
