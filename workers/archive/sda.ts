import { createReadStream } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { randomUUID } from 'node:crypto';
import { digestFile } from '../content/digest-file.ts';
import { sizeOfFile } from '../content/files.ts';
import { removeFile } from '../content/publish.ts';
import { LongshoreError } from '../errors.ts';
import {
  type Archive,
  type ArchivedObject,
  type CallOptions,
  type GetOptions,
  missingObject,
  type PutOptions,
  type PutSource,
} from './contract.ts';
import { fetchWhole } from './fetch.ts';
import { COMMANDS, type HsiOptions, parseHash, parseListing, parseSize, runHsi } from './hsi.ts';

export interface SdaOptions extends HsiOptions {
  /** Put before every key. */
  readonly root: string;
  readonly checksum: boolean;
  readonly preflight: boolean;
  readonly poll_seconds: number;
  readonly max_transfers: number;
  /** For what must be fetched whole although a part was asked for. */
  readonly scratch: string;
  /** Told when a put was left out, because the archive has the same already. */
  readonly onSkip?: (path: string) => void;
}

/**
 * The tape archive behind `hsi` (HPSS). It takes and gives whole files only.
 *
 * A put goes to the final name at once, as hsi's users expect it: a rename on tape is one more answer that can be lost, and
 * nobody takes an object for a bundle whose size and digest are not those of its manifest. After the put hsi is asked
 * for size and digest; an object that differs is removed.
 */
export function createSdaArchive(options: SdaOptions): Archive {
  const { checksum, poll_seconds } = options;
  const pathOf = (key: string): string => (options.root === '' ? key : posix.join(options.root, key));
  const run = (command: string, call: Parameters<typeof runHsi>[2] = {}) => runHsi(options, command, call);

  const sizeOf = async (path: string, call: CallOptions = {}): Promise<number | null> => {
    const said = await run(COMMANDS.size(path), { signal: call.signal });
    if (said === null) return null;
    const size = parseSize(said);
    if (size !== null) return size;
    throw new LongshoreError('E_ARCHIVE_UNAVAILABLE', `hsi gave no size for ${path}`, {
      fields: { archive: options.name, path, said: said.toString('utf8').slice(0, 1000) },
    });
  };
  const lookAt = async (path: string, call: CallOptions = {}): Promise<ArchivedObject | null> => {
    const size = await sizeOf(path, call);
    if (size === null) return null;
    const said = await run(COMMANDS.hash(path), { signal: call.signal });
    const hash = said === null ? null : parseHash(said);
    return { size, modified: null, digests: hash === null ? {} : { [hash.algorithm]: hash.hex } };
  };
  const required = async (key: string, call: CallOptions): Promise<ArchivedObject> => {
    const found = await lookAt(pathOf(key), call);
    if (found !== null) return found;
    throw missingObject(options.name, pathOf(key));
  };

  const put = async (
    key: string,
    source: PutSource,
    { signal, onProgress }: PutOptions,
  ): Promise<ArchivedObject> => {
    if (!('file' in source)) throw new Error('the tape archive takes files, not a stream');
    const path = pathOf(key);
    const { size } = await stat(source.file);
    const local = lazyMd5(source, signal);
    signal?.throwIfAborted();
    if (options.preflight) {
      const there = await lookAt(path, { signal });
      // Only where the archive states a digest is the local one worth its reading.
      if (there?.digests.md5 !== undefined && there.size === size && there.digests.md5 === (await local())) {
        options.onSkip?.(path);
        onProgress?.(size);
        return there;
      }
    }
    const folder = posix.dirname(path);
    if (folder !== '.' && folder !== '/') await run(COMMANDS.makeFolder(folder), { signal });
    const said = await run(COMMANDS.put(source.file, path, checksum), {
      signal,
      watch: polling(poll_seconds, () => sizeOf(path, { signal }), onProgress),
    });
    const stored = said === null ? null : await lookAt(path, { signal });
    const wrong = await differs(stored, size, checksum ? local : null);
    if (wrong === null && stored !== null) {
      onProgress?.(size);
      return stored;
    }
    if (stored !== null) await run(COMMANDS.remove(path), { signal });
    throw new LongshoreError('E_TRANSFER', `${path} ${wrong ?? 'is not there'} after it was put`, {
      fields: { archive: options.name, path, size, stored },
    });
  };

  const get = async (
    key: string,
    target: string,
    { signal, onProgress }: GetOptions,
  ): Promise<ArchivedObject> => {
    const path = pathOf(key);
    const found = await required(key, { signal });
    await fetchWhole(target, async () => {
      await run(COMMANDS.get(target, path, checksum), {
        signal,
        watch: polling(poll_seconds, async () => sizeOfFile(target), onProgress),
      });
      const size = sizeOfFile(target);
      const stated = found.digests.md5;
      const digest = size === found.size && stated !== undefined ? await md5Of(target, signal) : undefined;
      if (size === found.size && digest === stated) return;
      throw new LongshoreError(
        'E_TRANSFER',
        `${path} came with ${size} bytes, md5 ${digest ?? 'not computed'}; expected ${found.size} bytes, md5 ${stated ?? 'unknown'}`,
        { fields: { archive: options.name, path, size, expected: found } },
      );
    });
    onProgress?.(found.size);
    return found;
  };

  return {
    name: options.name,
    capabilities: {
      stream: false,
      range: false,
      resume: false,
      digest: checksum ? 'md5' : null,
      max_transfers: options.max_transfers,
    },
    local: null,
    locate: (key) => `hsi:${pathOf(key)}`,
    prepare: async () => undefined,
    ensureReachable: async (key, { signal } = {}) => {
      await run(COMMANDS.exists(posix.dirname(pathOf(key))), { signal });
    },
    stat: (key, call) => lookAt(pathOf(key), call),
    put,
    get,
    read: async function* (key, { offset = 0, length, signal }) {
      await mkdir(options.scratch, { recursive: true });
      const fetched = join(options.scratch, `.fetched-${randomUUID()}`);
      try {
        await get(key, fetched, { signal });
        if (length === 0) return;
        const end = length === undefined ? {} : { end: offset + length - 1 };
        for await (const chunk of createReadStream(fetched, { start: offset, ...end, signal }))
          yield chunk as Buffer;
      } finally {
        removeFile(fetched);
      }
    },
    delete: async (key, { signal } = {}) => {
      if ((await sizeOf(pathOf(key), { signal })) === null) return false;
      await run(COMMANDS.remove(pathOf(key)), { signal });
      return true;
    },
    list: async function* (prefix, { signal } = {}) {
      const folder = pathOf(prefix).replace(/\/+$/, '');
      const said = await run(COMMANDS.listBelow(folder), { signal });
      const cut = options.root === '' ? 0 : pathOf('x').length - 1;
      for (const { path, size } of said === null ? [] : parseListing(said))
        yield { key: path.slice(cut), size };
    },
  };
}

/** @param local null: the digest is not compared */
async function differs(
  found: Pick<ArchivedObject, 'size' | 'digests'> | null,
  size: number,
  local: (() => Promise<string>) | null,
): Promise<string | null> {
  if (found === null) return 'is not there';
  if (found.size !== size) return `has ${found.size} bytes, expected ${size},`;
  if (local === null) return null;
  if (found.digests.md5 === undefined) return 'has no digest';
  const expected = await local();
  return found.digests.md5 === expected ? null : `has md5 ${found.digests.md5}, expected ${expected},`;
}

function polling(
  every_seconds: number,
  ask: () => Promise<number | null>,
  onProgress: ((bytes: number) => void) | undefined,
) {
  let last = 0;
  return {
    every_seconds,
    moved: async (): Promise<boolean> => {
      const size = await ask();
      if (size === null || size <= last) return false;
      last = size;
      onProgress?.(size);
      return true;
    },
  };
}

/** Known, or read once when it is asked for. */
function lazyMd5(source: { file: string; digests?: Readonly<Record<string, string>> }, signal?: AbortSignal) {
  let digest: Promise<string> | null = null;
  return (): Promise<string> => {
    digest ??=
      source.digests?.md5 === undefined ? md5Of(source.file, signal) : Promise.resolve(source.digests.md5);
    return digest;
  };
}

const md5Of = async (path: string, signal: AbortSignal | undefined): Promise<string> =>
  (await digestFile(path, ['md5'], { signal })).md5 as string;
