/** A BagIt 1.0 bag (RFC 8493) of a staged dataset. */
import {
  chmodSync,
  constants,
  copyFileSync,
  createReadStream,
  linkSync,
  lstatSync,
  mkdirSync,
  utimesSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type BagContents, bagContents, type BagLinks } from './contents.ts';
import { bagPath } from '../digest/checksum-lines.ts';
import { copyBytes } from '../copy.ts';
import { Barrier } from '../barrier.ts';
import { isQuotaLine, noSpaceIn } from '../../no-space.ts';
import { runCoreutil } from '../coreutils.ts';
import { digestFile } from '../digest/file.ts';
import { createLineWriter } from '../line-writer.ts';
import { type ManifestMember, readManifest } from '../manifest.ts';
import { digestMembers, manifestDigests } from '../digest/member-digests.ts';
import { fsPath } from '../path.ts';
import { makeFolders } from '../../folders.ts';
import { reserveSpace } from '../space.ts';
import { absolutePath } from '../walk.ts';

export type BagDigest = 'md5' | 'sha256';
/** `link`: hard links to the staged files, copies where the file system has none. `none`: the payload is put there later. */
export type BagPayload = 'link' | 'copy' | 'none';

export interface BagOptions {
  /** The staged copy, known to be what the manifest says. */
  readonly root: string;
  readonly manifest: string;
  /** A fresh name for the bag; its folder is made. */
  readonly target: string;
  readonly digests: readonly BagDigest[];
  readonly payload: BagPayload;
  readonly links: BagLinks;
  /** Lines of bag-info.txt, besides those that the bag itself determines. */
  readonly info: readonly (readonly [label: string, value: string])[];
  readonly space: { readonly keep: number; readonly state_dir: string; readonly holder: string };
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((what: 'copy' | 'digest', bytes: number, total: number) => void) | undefined;
}

export interface Bag extends Pick<BagContents, 'files' | 'bytes' | 'empty_folders' | 'skipped_links'> {
  readonly copied: boolean;
}

/** @throws E_USAGE, E_VALUE for what a bag cannot hold, E_VALIDATION for files that are not what was archived */
export async function makeBag(options: BagOptions): Promise<Bag> {
  const { root, manifest, target, links } = options;
  const contents = bagContents(manifest, root, links);
  const data = join(target, 'data');
  makeFolders(data);
  const barrier = await Barrier.open(target);
  try {
    const bag = await pack(options, contents, data);
    await barrier.sync();
    return bag;
  } finally {
    await barrier.close();
  }
}

async function pack(options: BagOptions, contents: BagContents, data: string): Promise<Bag> {
  const { root, manifest, target, digests, payload, links } = options;
  const copied = payload !== 'none' && (await fill(options, contents, data));
  const algorithms = [...new Set(digests)];
  const inManifest = manifestDigests(manifest);
  // Copies have to prove themselves; hard links are the staged files. A link's line has no digest of what it leads to.
  const compute = copied || links === 'follow' || algorithms.some((name) => !inManifest.includes(name));
  const writers = algorithms.map(
    (name) => [name, createLineWriter(join(target, `manifest-${name}.txt`))] as const,
  );
  try {
    const place = copied
      ? (member: ManifestMember) => (contents.place(member) === null ? null : member.path)
      : contents.place;
    const members = digestMembers({
      manifest,
      names: algorithms,
      root: compute ? (copied ? data : root) : null,
      place,
      signal: options.signal,
      onProgress: (bytes) => options.onProgress?.('digest', bytes, contents.bytes),
    });
    for await (const { member, digests: found } of members)
      for (const [name, writer] of writers)
        writer.write(`${found[name] ?? ''}  data/${bagPath(member.path)}\n`);
    for (const [, writer] of writers) writer.close();
  } finally {
    for (const [, writer] of writers) writer.abandon();
  }
  await writeTags(options, contents, algorithms);
  const { files, bytes, empty_folders, skipped_links } = contents;
  return { files, bytes, empty_folders, skipped_links, copied };
}

/** Errors of link(2) that mean "not here", where a copy does as well. */
const NO_LINK = new Set(['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'ENOSYS', 'EACCES']);
const MEMBERS_PER_TURN = 500;

/** True when files were copied. */
async function fill(options: BagOptions, contents: BagContents, data: string): Promise<boolean> {
  const { root, manifest, signal, onProgress, payload } = options;
  let space: ReturnType<typeof reserveSpace> | null = null;
  let bytes = 0;
  let members = 0;
  let folder = '';
  try {
    for (const member of readManifest(manifest)) {
      const from = contents.place(member);
      if (from === null) continue;
      if (++members % MEMBERS_PER_TURN === 0) {
        signal?.throwIfAborted();
        await new Promise(setImmediate);
      }
      const paths = { from: absolutePath(root, from), to: absolutePath(data, member.path) };
      if (dirname(paths.to) !== folder) mkdirSync(fsPath((folder = dirname(paths.to))), { recursive: true });
      if (space === null && payload === 'link' && linked(paths)) continue;
      space ??= reserveSpace({ folder: data, bytes: contents.bytes - bytes, ...options.space });
      const tell = (done: number): void => {
        onProgress?.('copy', bytes + done, contents.bytes);
        space?.spent(bytes + done);
      };
      await copyFile(paths, { signal, onProgress: tell });
      bytes += member.size;
      tell(0);
    }
  } finally {
    space?.release();
  }
  return space !== null;
}

interface FromTo {
  readonly from: string;
  readonly to: string;
}

function linked({ from, to }: FromTo): boolean {
  try {
    linkSync(fsPath(from), fsPath(to));
    return true;
  } catch (error) {
    if (NO_LINK.has((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** Larger ones show how far they are. */
const AT_ONCE_BYTES = 64 * 1024 * 1024;

async function copyFile(
  { from, to }: FromTo,
  options: { signal: AbortSignal | undefined; onProgress: (bytes: number) => void },
): Promise<void> {
  const { size, blocks, mode, atime, mtime } = lstatSync(fsPath(from));
  if (blocks * 512 < size && from.isWellFormed()) {
    // Node fills holes.
    const { code, stderr } = await runCoreutil('cp', ['--sparse=always', '--preserve=mode', '--', from, to]);
    const full = noSpaceIn([stderr]);
    const errno = full === undefined ? 'EIO' : isQuotaLine(full) ? 'EDQUOT' : 'ENOSPC';
    if (code !== 0) throw Object.assign(new Error(stderr), { code: errno, syscall: 'copyfile', path: to });
  } else if (size <= AT_ONCE_BYTES) {
    copyFileSync(fsPath(from), fsPath(to), constants.COPYFILE_FICLONE);
  } else {
    await copyBytes(createReadStream(fsPath(from), { highWaterMark: 1024 * 1024 }), to, options);
    chmodSync(fsPath(to), mode & 0o777);
  }
  utimesSync(fsPath(to), atime, mtime);
}

/** bagit.txt, bag-info.txt, and the digests of all that is no payload. */
async function writeTags(
  { target, info }: BagOptions,
  contents: BagContents,
  algorithms: readonly BagDigest[],
): Promise<void> {
  const write = (name: string, lines: readonly string[]): void => {
    const writer = createLineWriter(join(target, name));
    for (const line of lines) writer.write(`${line}\n`);
    writer.close();
  };
  write('bagit.txt', ['BagIt-Version: 1.0', 'Tag-File-Character-Encoding: UTF-8']);
  const lines = [
    ...info,
    ['Payload-Oxum', `${contents.bytes}.${contents.files}`] as const,
    ...contents.empty_folders.map((path) => ['Longshore-Empty-Folder', path] as const),
    ...contents.skipped_links.map((link) => ['Longshore-Skipped-Link', link] as const),
  ];
  // A value is one line, and lone surrogates are no UTF-8.
  write(
    'bag-info.txt',
    lines.map(([label, value]) => `${label}: ${bagPath(value.toWellFormed())}`),
  );
  const tags = ['bagit.txt', 'bag-info.txt', ...algorithms.map((name) => `manifest-${name}.txt`)];
  const found = await Promise.all(tags.map((name) => digestFile(join(target, name), algorithms)));
  for (const algorithm of algorithms)
    write(
      `tagmanifest-${algorithm}.txt`,
      tags.map((name, index) => `${found[index]?.[algorithm] ?? ''}  ${name}`),
    );
}
