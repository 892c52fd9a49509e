import { stat } from 'node:fs/promises';
import { posix } from 'node:path';
import { createHasher, type Digests } from '../content/digest/digest.ts';
import { partialPath, partialPrefix } from '../content/publish.ts';
import { LongshoreError } from '../errors.ts';
import { continueGet, endGet } from './continued-get.ts';
import {
  type Archive,
  type ArchivedObject,
  type CallOptions,
  type GetOptions,
  missingObject,
  type PutOptions,
  type PutSource,
  type ReadOptions,
} from './contract.ts';
import { isMarked, MARK, markOnce, type RcloneArchiveOptions } from './rclone-mark.ts';
import { readStats, runRclone, STATS, streamRclone } from './rclone-run.ts';

export type { RcloneArchiveOptions } from './rclone-mark.ts';

interface Entry {
  readonly Path: string;
  readonly Size: number;
  readonly ModTime: string;
  readonly IsDir: boolean;
  readonly Hashes?: Readonly<Record<string, string>>;
}

/**
 * Any remote that rclone knows. Objects are written under a temporary name beside their own and moved there when they
 * are complete and have the right size and digest.
 */
export function createRcloneArchive(options: RcloneArchiveOptions): Archive {
  const base = options.remote.endsWith(':') ? options.remote : `${options.remote.replace(/\/+$/, '')}/`;
  /** Below the remote. */
  const pathOf = (key: string): string => key.replace(/^\/+/, '');
  const placeOf = (key: string): string => `${base}${pathOf(key)}`;
  const entryOf = async (place: string, call: CallOptions): Promise<Entry | null> => {
    const said = await runRclone(
      options,
      ['lsjson', '--stat', '--hash', '--hash-type', 'md5', '--', place],
      call,
    );
    const entry = said === null ? null : (JSON.parse(said.toString('utf8')) as Entry | null);
    return entry === null || entry.IsDir ? null : entry;
  };
  const objectOf = ({ Size, ModTime, Hashes = {} }: Entry): ArchivedObject => ({
    size: Size,
    modified: new Date(ModTime),
    digests: Hashes.md5 === undefined || Hashes.md5 === '' ? {} : { md5: Hashes.md5 },
  });
  const requireMark = async (call: CallOptions): Promise<void> => {
    if ((await entryOf(placeOf(MARK), call)) !== null) return;
    throw new LongshoreError(
      'E_ARCHIVE_UNAVAILABLE',
      `the archive at ${base} is not there: ${MARK} is missing`,
      {
        fields: { archive: options.name, remote: options.remote },
        hint: `Mount or start what is behind the remote, then resume. If it is new, or was put in the old one's place: rclone touch '${placeOf(MARK)}'`,
      },
    );
  };
  const find = async (key: string, call: CallOptions): Promise<ArchivedObject | null> => {
    const entry = await entryOf(placeOf(key), call);
    if (entry !== null) return objectOf(entry);
    await requireMark(call);
    return null;
  };
  const missing = (key: string): LongshoreError => missingObject(options.name, placeOf(key));
  /** It was there a moment ago: what the remote says of it now counts only while its mark is there. */
  const vanished = async (key: string, place: string, call: CallOptions): Promise<LongshoreError> => {
    await requireMark(call);
    if ((await entryOf(place, call)) === null) return missing(key);
    return new LongshoreError('E_ARCHIVE_UNAVAILABLE', `${place} was not there for a moment`, {
      fields: { archive: options.name, path: place },
    });
  };
  const required = async (key: string, call: CallOptions): Promise<ArchivedObject> => {
    const found = await find(key, call);
    if (found === null) throw missing(key);
    return found;
  };

  const put = async (
    key: string,
    source: PutSource,
    { task_id, signal, onProgress }: PutOptions,
  ): Promise<ArchivedObject> => {
    const call = { signal };
    await markOnce(options, placeOf(MARK), call);
    await requireMark(call);
    const path = pathOf(key);
    await removeStale(path, call);
    const partial = `${base}${partialPath(path, task_id)}`;
    try {
      const sent =
        'file' in source
          ? await sendFile(source, partial, { signal, onProgress })
          : await sendStream(source, partial, { signal, onProgress });
      const entry = await entryOf(partial, call);
      assertArrived(entry === null ? null : objectOf(entry), sent, placeOf(key));
      // A mount that went away meanwhile leaves a folder in which rclone makes what it misses.
      await requireMark(call);
      signal?.throwIfAborted();
      if ((await runRclone(options, ['moveto', '--', partial, placeOf(key)], call)) === null) {
        await requireMark(call);
        throw notMoved(options.name, partial);
      }
      onProgress?.(sent.size);
    } catch (error) {
      // What is left goes with the next put; that it could not be removed now matters less than why the put failed.
      await runRclone(options, ['deletefile', '--', partial]).catch(() => undefined);
      throw error;
    }
    return required(key, call);
  };

  const sendFile = async (
    source: { file: string; digests?: Readonly<Digests> },
    target: string,
    { signal, onProgress }: Pick<PutOptions, 'signal' | 'onProgress'>,
  ) => {
    const { size } = await stat(source.file);
    const copied = await runRclone(
      options,
      ['copyto', '--ignore-times', ...STATS, '--', source.file, target],
      {
        signal,
        onStderr: readStats(onProgress),
      },
    );
    if (copied === null)
      throw new LongshoreError('E_IO', `rclone found no file ${source.file}`, {
        fields: { path: source.file },
      });
    // rclone has compared the digests that both sides know; ours is one more where we have it.
    return { size, digests: source.digests ?? {} };
  };

  const sendStream = async (
    source: { stream: AsyncIterable<Buffer>; size: number | null },
    target: string,
    { signal, onProgress }: Pick<PutOptions, 'signal' | 'onProgress'>,
  ) => {
    const hasher = createHasher(['md5']);
    let size = 0;
    const input = async function* (): AsyncGenerator<Buffer> {
      for await (const chunk of source.stream) {
        signal?.throwIfAborted();
        hasher.update(chunk);
        size += chunk.length;
        yield chunk;
        onProgress?.(size);
      }
    };
    const hint = source.size === null ? [] : ['--size', String(source.size)];
    await runRclone(options, ['rcat', ...hint, '--', target], { signal, input: input() });
    return { size, digests: hasher.digests() };
  };

  const assertArrived = (
    found: ArchivedObject | null,
    sent: { size: number; digests: Readonly<Digests> },
    place: string,
  ): void => {
    const md5 = found?.digests.md5;
    const same = md5 === undefined || sent.digests.md5 === undefined || md5 === sent.digests.md5;
    if (found?.size === sent.size && same) return;
    throw new LongshoreError(
      'E_TRANSFER',
      `${place} arrived with ${found?.size ?? 'no'} bytes and md5 ${md5 ?? 'unknown'}; sent were ${sent.size} and ${sent.digests.md5 ?? 'unknown'}`,
      { fields: { archive: options.name, path: place, sent, found } },
    );
  };

  const removeStale = async (path: string, call: CallOptions): Promise<void> => {
    const folder = posix.dirname(path);
    const prefix = partialPrefix(path);
    for (const { Path } of await listed(folder === '.' ? '' : folder, ['--files-only'], call))
      if (Path.startsWith(prefix))
        await runRclone(options, ['deletefile', '--', `${base}${posix.join(folder, Path)}`], call);
  };

  const listed = async (folder: string, flags: readonly string[], call: CallOptions): Promise<Entry[]> => {
    const said = await runRclone(options, ['lsjson', ...flags, '--', `${base}${folder}`], call);
    return said === null ? [] : (JSON.parse(said.toString('utf8')) as Entry[]);
  };

  /** By `cat`, not `copyto`: who dies leaves no rclone behind that still writes to the file, and the next one goes on. */
  const get = async (
    key: string,
    target: string,
    { signal, onProgress }: GetOptions,
  ): Promise<ArchivedObject> => {
    const found = await required(key, { signal });
    const { size, digests } = await continueGet({
      target,
      location: placeOf(key),
      version: versionOf(found),
      size: found.size,
      md5: found.digests.md5 !== undefined,
      read: (offset) => part(key, { offset, wanted: found.size - offset, signal }),
      signal,
      onProgress,
    });
    const after = await required(key, { signal });
    const same = versionOf(after) === versionOf(found);
    endGet(target, same && size === found.size && digests.md5 === found.digests.md5);
    assertArrived({ ...found, size, digests }, found, target);
    if (same) return found;
    throw new LongshoreError('E_TRANSFER', `${placeOf(key)} was replaced while it was read`, {
      fields: { archive: options.name, path: placeOf(key), found, after },
    });
  };

  const read = async function* (
    key: string,
    { offset = 0, length, signal }: ReadOptions,
  ): AsyncGenerator<Buffer> {
    const { size } = await required(key, { signal });
    const wanted = Math.max(0, Math.min(length ?? size, size - offset));
    if (wanted > 0) yield* part(key, { offset, wanted, signal });
  };

  /** Bytes that the object has, as it was just looked at. */
  const part = async function* (
    key: string,
    { offset, wanted, signal }: { offset: number; wanted: number; signal: AbortSignal | undefined },
  ): AsyncGenerator<Buffer> {
    const words = ['cat', '--offset', String(offset), '--count', String(wanted), '--', placeOf(key)];
    let got = 0;
    const onAbsent = (): Promise<LongshoreError> => vanished(key, placeOf(key), { signal });
    for await (const chunk of streamRclone(options, words, { signal, onAbsent })) {
      got += chunk.length;
      yield chunk;
    }
    if (got === wanted) return;
    throw new LongshoreError(
      'E_TRANSFER',
      `${placeOf(key)} gave ${got} bytes from ${offset}, expected ${wanted}`,
      {
        fields: { archive: options.name, path: placeOf(key), offset, wanted, got },
      },
    );
  };

  return {
    name: options.name,
    capabilities: { stream: true, range: true, resume: true, digest: null, max_transfers: null },
    local: null,
    locate: placeOf,
    prepare: async (_, call = {}) => {
      await markOnce(options, placeOf(MARK), call);
      await requireMark(call);
    },
    ensureReachable: async (_, call = {}) => {
      if (await isMarked(options)) await requireMark(call);
      // Before the first put of this host there may be no mark: the remote answers, or it does not.
      else await runRclone(options, ['lsjson', '--stat', '--', placeOf(MARK)], call);
    },
    stat: async (key, call = {}) => find(key, call),
    put,
    get,
    read,
    delete: async (key, call = {}) => {
      const found = (await find(key, call)) !== null;
      if (found) await runRclone(options, ['deletefile', '--', placeOf(key)], call);
      await removeStale(pathOf(key), call);
      return found;
    },
    list: async function* (prefix, call = {}) {
      await requireMark(call);
      const folder = prefix.replace(/^\/+|\/+$/g, '');
      for (const { Path, Size } of await listed(folder, ['-R', '--files-only'], call))
        if (!posix.basename(Path).startsWith('.')) yield { key: posix.join(prefix, Path), size: Size };
    },
  };
}

const notMoved = (archive: string, path: string): LongshoreError =>
  new LongshoreError('E_TRANSFER', `${path} was gone before it had its name`, { fields: { archive, path } });

/** Every remote states a time; what it makes up when it is asked is another one each time, and then nothing is gone on with. */
const versionOf = ({ modified, digests }: ArchivedObject): string =>
  `${modified?.toISOString() ?? ''} ${digests.md5 ?? ''}`;
