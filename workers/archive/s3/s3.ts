import type { Archive } from '../contract.ts';
import { noServer } from './errors.ts';
import { getObject } from './get.ts';
import { putObject } from './put.ts';
import { readObject } from './read.ts';
import { createSession, type S3Options } from './session.ts';
import { listObjects, requireBucket, requireObject, statObject } from './stat.ts';
import { abortOthers, forgetUpload } from './unfinished.ts';

export type { S3Options } from './session.ts';

/**
 * The archive as objects of a bucket, of AWS or of any server that speaks S3.
 *
 * The key of an object is the prefix and the archive path without its first slash. `list` gives keys back as its own
 * prefix is written: with the slash if that has one.
 *
 * The digest that S3 states is the MD5 of what was put by one request, and nothing usable otherwise: put checks part by
 * part, and `digest` says null.
 */
export function createS3Archive(options: S3Options): Archive {
  const session = createSession(options);
  const keyOf = (path: string): string => `${options.prefix}${path.replace(/^\//, '')}`;
  return {
    name: options.name,
    capabilities: { stream: true, range: true, resume: true, digest: null, max_transfers: null },
    local: null,
    locate: (path) => session.place(keyOf(path)).location,
    prepare: async () => undefined,
    ensureReachable: (_, { signal } = {}) => requireBucket(session, signal),
    stat: async (path, { signal } = {}) => {
      const found = await statObject(session, keyOf(path), signal);
      if (found === null) return null;
      const { size, modified, digests } = found;
      return { size, modified, digests };
    },
    put: (path, source, put) => putObject(session, keyOf(path), source, put),
    get: (path, target, get) => getObject(session, keyOf(path), target, get),
    read: async function* (path, { offset = 0, length, signal }) {
      const key = keyOf(path);
      if (length === 0) await requireObject(session, key, signal);
      else yield* readObject(session, key, { offset, length }, signal);
    },
    delete: async (path, { signal } = {}) => {
      const key = keyOf(path);
      const found = await statObject(session, key, signal);
      // The object last: who asks again after an outage in between is told the truth.
      await forgetUpload(session, key, signal);
      await abortOthers(session, key, null, signal);
      if (found === null) return false;
      const { $metadata } = await session.ask(key, signal, (s3, how) =>
        s3.deleteObject({ Bucket: options.bucket, Key: key }, how),
      );
      // S3 says 204; the page of a proxy says 200.
      if ($metadata.httpStatusCode !== 204 && (await statObject(session, key, signal)) !== null)
        throw noServer(session.place(key), 'status 204');
      return true;
    },
    list: async function* (path, { signal } = {}) {
      const slash = path.startsWith('/') ? '/' : '';
      for await (const { key, size } of listObjects(session, keyOf(path), signal))
        yield { key: `${slash}${key.slice(options.prefix.length)}`, size };
    },
  };
}
