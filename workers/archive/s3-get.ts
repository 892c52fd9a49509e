import { createHash, type Hash } from 'node:crypto';
import { createReadStream, readFileSync, statSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { publishFile, removeFile } from '../content/publish.ts';
import { type ArchivedObject, type GetOptions, originPath } from './contract.ts';
import { readObject } from './s3-read.ts';
import type { S3Session } from './s3-session.ts';
import { requireObject, type StatedObject } from './s3-stat.ts';
import { unequal } from './s3-verify.ts';

/** What a killed process, or a power cut, takes from a half-fetched file. A sync of so much is cheap beside its way here. */
const SYNC_BYTES = 64 * 1024 ** 2;

/** Beside a file that is being fetched: of which object its first `synced` bytes are. */
interface Origin {
  readonly location: string;
  readonly etag: string;
  readonly size: number;
  readonly synced: number;
}

/** Fetches an object into a file, from where an earlier attempt at the same object has come to. */
export async function getObject(
  session: S3Session,
  key: string,
  target: string,
  options: GetOptions,
): Promise<ArchivedObject> {
  const found = await requireObject(session, key, options.signal);
  const { md5: expected } = found.digests;
  const { size, md5 } = await fetchRest(session, key, { target, found, options });
  if (size !== found.size || md5 !== expected) {
    removeFile(target);
    removeFile(originPath(target));
    throw size === found.size
      ? unequal(session, key, 'the MD5 of what came', { expected: expected ?? '', actual: md5 ?? '' })
      : unequal(session, key, 'the size of what came', { expected: found.size, actual: size });
  }
  removeFile(originPath(target));
  return { size, modified: found.modified, digests: found.digests };
}

async function fetchRest(
  session: S3Session,
  key: string,
  { target, found, options }: { target: string; found: StatedObject; options: GetOptions },
): Promise<{ size: number; md5: string | undefined }> {
  const { signal } = options;
  const origin = { location: session.place(key).location, etag: found.etag, size: found.size };
  let at = begunAt(target, origin);
  writeOrigin(target, { ...origin, synced: at });
  const file = await open(target, at === 0 ? 'w' : 'r+', 0o644);
  try {
    await file.truncate(at);
    const md5 = found.digests.md5 === undefined ? null : createHash('md5');
    if (md5 !== null) await digestBeginning(md5, target, { bytes: at, signal });
    let synced = at;
    const sync = async (): Promise<void> => {
      await file.datasync();
      writeOrigin(target, { ...origin, synced: at });
      synced = at;
    };
    try {
      if (at < found.size)
        for await (const chunk of readObject(session, key, { offset: at, etag: found.etag }, signal)) {
          await writeAt(file, chunk, { at, target });
          md5?.update(chunk);
          at += chunk.length;
          options.onProgress?.(at);
          if (at - synced >= SYNC_BYTES) await sync();
        }
    } catch (error) {
      await sync().catch(() => undefined); // The first failure is the one to tell.
      throw error;
    }
    await file.sync();
    return { size: at, md5: md5?.digest('hex') };
  } finally {
    await file.close();
  }
}

/** How many bytes of the file are known to be of this object. */
function begunAt(target: string, { location, etag, size }: Omit<Origin, 'synced'>): number {
  const before = readOrigin(target);
  if (before === null || etag === '') return 0;
  if (before.location !== location || before.etag !== etag || before.size !== size) return 0;
  return (statSync(target, { throwIfNoEntry: false })?.size ?? 0) >= before.synced ? before.synced : 0;
}

function readOrigin(target: string): Origin | null {
  try {
    return JSON.parse(readFileSync(originPath(target), 'utf8')) as Origin;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function writeOrigin(target: string, origin: Origin): void {
  const path = originPath(target);
  const made = `${path}.new`; // Always the same, so that a dead attempt's is written over.
  writeFileSync(made, JSON.stringify(origin));
  publishFile(made, path);
}

async function writeAt(
  file: FileHandle,
  chunk: Buffer,
  { at, target }: { at: number; target: string },
): Promise<void> {
  try {
    for (let done = 0; done < chunk.length; )
      done += (await file.write(chunk, done, chunk.length - done, at + done)).bytesWritten;
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path: target });
  }
}

async function digestBeginning(
  md5: Hash,
  path: string,
  { bytes, signal }: { bytes: number; signal: AbortSignal | undefined },
): Promise<void> {
  if (bytes === 0) return;
  const stream = createReadStream(path, { end: bytes - 1, highWaterMark: 1024 * 1024, signal });
  for await (const chunk of stream) md5.update(chunk as Buffer);
}
