/** The files of an upload, in the order in which the browser lists them. */
import { type Dirent, lstatSync, readdirSync } from 'node:fs';
import { Beneath } from '../content/beneath.ts';
import { decodeLatin1, shownPath } from '../content/path.ts';
import { isVanished, resolveRoot, vanished } from '../content/walk.ts';
import { notIntact } from './failure.ts';

export interface PayloadFile {
  /** Relative to the root, `/` between names. */
  readonly path: string;
  readonly size: number;
}

interface Entry {
  readonly name: string;
  /** What its place in the order follows from. */
  readonly key: string;
  readonly directory: boolean;
}

/**
 * Every file below `root`, sorted by its whole path as a string of UTF-16 units: `a-b` before `a/b`, unlike in an order
 * by components. All paths of a directory begin with its name and a slash, so with that as its key among its siblings
 * the order comes out of a walk, and no list of the tree is held.
 *
 * A link, a socket or a device comes from no browser: following a link would take other files for the uploaded ones.
 * @throws E_ORIGIN_MISSING, E_UPLOAD_INTEGRITY, E_SOURCE_CHANGED
 */
export function* payloadFiles(root: string, signal?: AbortSignal): Generator<PayloadFile, void, undefined> {
  const beneath = new Beneath(resolveRoot(root));
  try {
    yield* filesBelow(beneath, signal);
  } finally {
    beneath.close();
  }
}

function* filesBelow(
  beneath: Beneath,
  signal: AbortSignal | undefined,
): Generator<PayloadFile, void, undefined> {
  const stack = [{ prefix: '', entries: entriesOf(beneath, '.'), next: 0 }];
  for (let level = stack.at(-1); level !== undefined; level = stack.at(-1)) {
    const entry = level.entries[level.next++];
    if (entry === undefined) {
      stack.pop();
      continue;
    }
    signal?.throwIfAborted();
    const path = level.prefix + entry.name;
    if (entry.directory) stack.push({ prefix: `${path}/`, entries: entriesOf(beneath, path), next: 0 });
    else yield { path, size: sizeOf(beneath, path) };
  }
}

function entriesOf(beneath: Beneath, path: string): Entry[] {
  let found: Dirent[];
  try {
    found = readdirSync(beneath.folder(path), { withFileTypes: true, encoding: 'latin1' });
  } catch (error) {
    throw isVanished(error) ? vanished(path) : beneath.named(error, path);
  }
  const prefix = path === '.' ? '' : `${path}/`;
  const entries = found.map((entry) => {
    const name = decodeLatin1(entry.name);
    const directory = entry.isDirectory();
    if (!directory && !entry.isFile()) throw foreign(prefix + name, entry.isSymbolicLink());
    return { name, directory, key: directory ? `${name}/` : name };
  });
  return entries.sort((a, b) => (a.key < b.key ? -1 : 1));
}

function sizeOf(beneath: Beneath, path: string): number {
  try {
    return lstatSync(beneath.at(path)).size;
  } catch (error) {
    throw isVanished(error) ? vanished(path) : beneath.named(error, path);
  }
}

const foreign = (path: string, link: boolean): Error =>
  notIntact(
    `"${shownPath(path)}" is ${link ? 'a symbolic link' : 'no regular file'}; an upload brings files only`,
    { path: shownPath(path) },
  );
