import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { syncFile } from '../content/copy.ts';
import { sizeOfFile } from '../content/files.ts';
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
import {
  COMMANDS,
  type HsiCommand,
  type HsiOptions,
  parseHash,
  parseListing,
  parseSize,
  runHsi,
} from './hsi.ts';
import { differs, isSame, lazyMd5, type LocalFile, md5Of } from './local-file.ts';
import { openReadable } from './recall.ts';
import type { FetchPlace } from './shared-fetch.ts';

/** Its scratch space is for what must be fetched whole although a part was asked for. */
export interface SdaOptions extends HsiOptions, FetchPlace {
  /** Put before every key. */
  readonly root: string;
  readonly checksum: boolean;
  readonly preflight: boolean;
  readonly poll_seconds: number;
  readonly max_transfers: number;
  /** Told when a put was left out, because the archive has the same already. */
  readonly onSkip?: (path: string) => void;
}

/** `ls` takes a second or two. One that hangs longer must not keep the looks at a long transfer from being answered. */
const LOOK_SECONDS = 60;

/** A put that is not proven yet: beside its final name, the same for all attempts, so that the next one replaces it. */
const unproven = (path: string): string => `${path}.new`;

/**
 * The tape archive behind `hsi` (HPSS). It takes and gives whole files only.
 *
 * A put goes to a name beside the final one, is asked for size and digest there, and is renamed when both are those of
 * the local file; what differs is removed. Whether hsi's `mv` replaces a file depends on the site, so one that is there
 * is removed right before: a crash in between leaves the proven file under the other name, and the next put renames it.
 *
 * That something is absent is believed only when the archive has answered another question well: what keeps hsi from the
 * archive (a keytab, a name server, its own program) says "no such file" as well.
 */
export function createSdaArchive(options: SdaOptions): Archive {
  const { checksum, poll_seconds, root } = options;
  const pathOf = (key: string): string => (root === '' ? key : posix.join(root, key));
  const run = (command: HsiCommand, call: Parameters<typeof runHsi>[2] = {}) =>
    runHsi(options, command, call);

  const requireAnswer = async (path: string, call: CallOptions = {}): Promise<void> => {
    let folder = root === '' ? posix.dirname(path) : root;
    while ((await run(COMMANDS.exists(folder), call)) === null) {
      const above = posix.dirname(folder);
      if (root === '' && above !== folder) folder = above;
      else throw noRoot(options.name, folder, path);
    }
  };
  /** Null is hsi's word alone: enough where a wrong one costs no more than a question. */
  const sizeOf = async (
    path: string,
    call: CallOptions = {},
    patience: HsiOptions = options,
  ): Promise<number | null> => {
    const said = await runHsi(patience, COMMANDS.size(path), call);
    if (said === null) return null;
    const size = parseSize(said, path);
    if (size !== null) return size;
    throw new LongshoreError('E_ARCHIVE_UNAVAILABLE', `hsi gave no size for ${path}`, {
      fields: { archive: options.name, path, said: said.toString('utf8').slice(0, 1000) },
    });
  };
  const peek = async (path: string, call: CallOptions = {}): Promise<ArchivedObject | null> => {
    const size = await sizeOf(path, call);
    const said = size === null ? null : await run(COMMANDS.hash(path), call);
    if (size === null || said === null) return null;
    const hash = parseHash(said);
    return { size, modified: null, digests: hash === null ? {} : { [hash.algorithm]: hash.hex } };
  };
  const lookAt = async (path: string, call: CallOptions = {}): Promise<ArchivedObject | null> => {
    const found = await peek(path, call);
    if (found === null) await requireAnswer(path, call);
    return found;
  };
  const required = async (key: string, call: CallOptions): Promise<ArchivedObject> => {
    const found = await lookAt(pathOf(key), call);
    if (found !== null) return found;
    throw missingObject(options.name, pathOf(key));
  };

  /** Under the name beside `path`, with the size and digest of the local file; what a dead attempt brought may serve. */
  const bring = async (path: string, { file, size, md5 }: LocalFile, call: PutOptions): Promise<void> => {
    const { signal, onProgress } = call;
    const beside = unproven(path);
    if (options.preflight && (await isSame(await peek(beside, { signal }), size, md5))) return;
    const patience = { ...options, stall_seconds: Math.min(LOOK_SECONDS, options.stall_seconds) };
    const folder = posix.dirname(path);
    if (folder !== '.' && folder !== '/') await run(COMMANDS.makeFolder(folder), { signal });
    await run(COMMANDS.put(file, beside, checksum), {
      signal,
      watch: polling(poll_seconds, () => sizeOf(beside, { signal }, patience), onProgress),
    });
    const arrived = await lookAt(beside, { signal });
    const wrong = await differs(arrived, size, checksum ? md5 : null);
    if (wrong === null) return;
    if (arrived !== null) await run(COMMANDS.remove(beside), { signal });
    throw notStored(options.name, path, wrong, { size, stored: arrived });
  };
  const put = async (key: string, source: PutSource, call: PutOptions): Promise<ArchivedObject> => {
    if (!('file' in source)) throw new Error('the tape archive takes files, not a stream');
    const { signal, onProgress } = call;
    const path = pathOf(key);
    const { size } = await stat(source.file);
    const md5 = lazyMd5(source, signal);
    signal?.throwIfAborted();
    const before = await peek(path, { signal });
    if (options.preflight && before !== null && (await isSame(before, size, md5))) {
      options.onSkip?.(path);
      onProgress?.(size);
      return before;
    }
    await bring(path, { file: source.file, size, md5 }, call);
    signal?.throwIfAborted();
    // Not to be stopped between the two: for so long the object has no name that a reader knows.
    if (before !== null) await run(COMMANDS.remove(path));
    await run(COMMANDS.rename(unproven(path), path));
    const stored = await lookAt(path, { signal });
    const wrong = await differs(stored, size, checksum ? md5 : null);
    if (wrong !== null || stored === null)
      throw notStored(options.name, path, wrong ?? 'is not there', { size, stored });
    onProgress?.(size);
    return stored;
  };

  const get = async (
    key: string,
    target: string,
    { signal, onProgress }: GetOptions,
  ): Promise<ArchivedObject> => {
    const path = pathOf(key);
    const found = await required(key, { signal });
    // Of an attempt that came so far and then died: a tape is not mounted again for what is here.
    if (existsSync(target) && (await isSame(found, sizeOfFile(target), () => md5Of(target, signal)))) {
      await syncFile(target);
      onProgress?.(found.size);
      return found;
    }
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

  const archive: Archive = {
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
    prepare: async (_, call = {}) => {
      if (root !== '' && (await run(COMMANDS.exists(root), call)) === null)
        await run(COMMANDS.makeFolder(root), call);
    },
    ensureReachable: (key, call) => requireAnswer(pathOf(key), call),
    stat: (key, call) => lookAt(pathOf(key), call),
    put,
    get,
    read: async function* (key, { offset = 0, length, signal }) {
      const { size } = await required(key, { signal });
      const { scratch, state_dir, keep } = options;
      const bundle = await openReadable({
        archive,
        key,
        size,
        scratch,
        state_dir,
        keep,
        fresh: true,
        signal,
      });
      try {
        yield* bundle.read(offset, Math.min(length ?? size, Math.max(0, size - offset)));
      } finally {
        await bundle.close();
      }
    },
    delete: async (key, call = {}) => {
      const path = pathOf(key);
      const found = (await sizeOf(path, call)) !== null;
      if (found) await run(COMMANDS.remove(path), call);
      // Of a file that stayed, the catalog would tell that it was deleted: hsi's exit code alone does not say so.
      if (found && (await sizeOf(path, call)) !== null) throw notRemoved(options.name, path);
      if (!found) await requireAnswer(path, call);
      await run(COMMANDS.remove(unproven(path)), call); // Of a dead attempt; mostly there is none.
      return found;
    },
    list: async function* (prefix, call = {}) {
      const folder = pathOf(prefix).replace(/\/+$/, '');
      const said = await run(COMMANDS.listBelow(folder), call);
      if (said === null) await requireAnswer(folder, call);
      const cut = root === '' ? 0 : pathOf('x').length - 1;
      for (const { path, size } of said === null ? [] : parseListing(said))
        if (!path.endsWith(unproven(''))) yield { key: path.slice(cut), size };
    },
  };
  return archive;
}

const notStored = (
  archive: string,
  path: string,
  wrong: string,
  fields: Record<string, unknown>,
): LongshoreError =>
  new LongshoreError('E_TRANSFER', `${path} ${wrong} after it was put`, {
    fields: { archive, path, ...fields },
  });

const notRemoved = (archive: string, path: string): LongshoreError =>
  new LongshoreError(
    'E_ARCHIVE_UNAVAILABLE',
    `${path} is still there, although hsi ended well at its removal`,
    {
      fields: { archive, path },
    },
  );

const noRoot = (archive: string, root: string, path: string): LongshoreError =>
  new LongshoreError(
    'E_ARCHIVE_UNAVAILABLE',
    `hsi finds no folder ${root}, so nothing that it says of ${path} is believed`,
    { fields: { archive, root, path } },
  );

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
