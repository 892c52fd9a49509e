/** Paths and sizes as the browser saw them: what is compared where it could not compute digests. */
import { lstatSync, realpathSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { fsPath, shownPath } from '../content/path.ts';
import { isVanished, resolveRoot } from '../content/walk.ts';
import { isBelow } from '../dataset/paths.ts';
import { notIntact } from './failure.ts';
import type { Counted } from './manifest-hash.ts';
import { payloadFiles } from './payload.ts';

const MODE = 'path-size-v1';

const entry = z.looseObject({ path: z.string().min(1), size: z.int().min(0) });
const shape = z.looseObject({
  mode: z.unknown(),
  files: z.array(entry).nullish(),
  file_count: z.int().nullish(),
  total_size: z.int().nullish(),
});
type SizeManifest = z.infer<typeof shape>;
type SizeEntry = z.infer<typeof entry>;

const FILES_PER_TURN = 1000;
const SHOWN = 5;

/**
 * Every named file is there, inside of the origin, with its size; there is no other; and the counts are right.
 * @throws E_UPLOAD_INTEGRITY naming the first difference, E_ORIGIN_MISSING
 */
export async function checkSizes(root: string, manifest: unknown, signal?: AbortSignal): Promise<Counted> {
  const base = resolveRoot(root);
  const { files, file_count, total_size } = read(manifest);
  const named = new Set<string>();
  let bytes = 0;
  let looked = 0;
  for (const one of files) {
    assertPlace(one.path);
    if (named.has(one.path))
      throw notIntact(`The size manifest names "${one.path}" twice`, { path: one.path });
    named.add(one.path);
    assertFile(base, one);
    bytes += one.size;
    if (++looked % FILES_PER_TURN === 0) await turn(signal);
  }
  if (file_count != null && file_count !== files.length)
    throw notIntact(`The size manifest counts ${file_count} files and names ${files.length}`, { file_count });
  if (total_size != null && total_size !== bytes)
    throw notIntact(
      `Size mismatch: the size manifest has a total of ${total_size} bytes, its files ${bytes}`,
      {
        total_size,
        bytes,
      },
    );
  await assertNoOther(base, named, signal);
  return { files: files.length, bytes };
}

function read(manifest: unknown): SizeManifest & { files: SizeEntry[] } {
  const mode = (manifest as { mode?: unknown } | null)?.mode;
  if (mode !== MODE)
    throw notIntact(`The size manifest has mode ${JSON.stringify(mode)}; expected "${MODE}"`, { mode });
  const found = shape.safeParse(manifest);
  if (!found.success) {
    const [issue] = found.error.issues;
    const where = issue?.path.join('.') ?? '';
    throw notIntact(`The size manifest is malformed at ${where}: ${issue?.message ?? ''}`, { where });
  }
  const files = found.data.files ?? [];
  if (files.length === 0) throw notIntact('The size manifest names no files');
  return { ...found.data, files };
}

/** By its text: `a/../b` would lead back inside, and no browser sends it. */
function assertPlace(path: string): void {
  const parts = path.split('/');
  const why = path.startsWith('/')
    ? 'is absolute'
    : path.includes('\0')
      ? 'holds a zero byte'
      : parts.includes('..')
        ? 'has a ".." component'
        : null;
  if (why !== null) throw escapes(path, why);
}

function assertFile(base: string, { path, size }: SizeEntry): void {
  const full = join(base, path);
  let stats: Stats;
  try {
    stats = lstatSync(fsPath(full));
    // A folder on the way may be a link.
    if (!isBelow(base, realpathSync(full))) throw escapes(path, 'leads out of the upload');
  } catch (error) {
    if (isVanished(error)) throw notIntact(`"${path}" of the size manifest is missing`, { path });
    throw error;
  }
  if (!stats.isFile()) throw notIntact(`"${path}" of the size manifest is no regular file`, { path });
  if (stats.size !== size)
    throw notIntact(`Size mismatch: "${path}" has ${stats.size} bytes, ${size} were sent`, {
      path,
      size: stats.size,
      expected: size,
    });
}

const escapes = (path: string, why: string): Error =>
  notIntact(`"${path}" of the size manifest escapes the upload: it ${why}`, { path });

async function assertNoOther(base: string, named: ReadonlySet<string>, signal?: AbortSignal): Promise<void> {
  const others: string[] = [];
  let files = 0;
  // `./a` and `a//b` name files that are listed as `a` and `a/b`.
  const plain = new Set([...named].map((path) => join(path)));
  for (const { path } of payloadFiles(base, signal)) {
    if (!plain.has(path)) others.push(shownPath(path));
    if (++files % FILES_PER_TURN === 0) await turn(signal);
  }
  if (others.length === 0 && files === named.size) return;
  const list = others.slice(0, SHOWN).map((path) => `"${path}"`);
  const shown = list.length === 0 ? '' : `; not sent: ${list.join(', ')}`;
  throw notIntact(`There are ${files} files, ${named.size} were sent${shown}`, {
    files,
    expected: named.size,
    others: others.slice(0, 100),
  });
}

async function turn(signal?: AbortSignal): Promise<void> {
  await new Promise(setImmediate);
  signal?.throwIfAborted();
}
