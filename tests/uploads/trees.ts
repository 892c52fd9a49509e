import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Blake3Hasher } from '@napi-rs/blake-hash';

export type Tree = Readonly<Record<string, string | Buffer>>;

/** Writes the files below `root`, folders made. */
export function writeTree(root: string, files: Tree): string {
  mkdirSync(root, { recursive: true });
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return root;
}

const blake3 = (bytes: string | Buffer): string =>
  new Blake3Hasher().update(Buffer.from(bytes)).digest('hex');

/** What the browser computes before it sends: all at once, in memory, sorted with `<` of JavaScript. */
export function browserHash(files: Tree): string {
  const entries = Object.entries(files).map(([path, content]) => ({ path, content: Buffer.from(content) }));
  entries.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  const lines = entries.map(({ path, content }) => `${path}\t${content.length}\t${blake3(content)}`);
  return blake3(['blake3-manifest-v1', ...lines].join('\n'));
}

/** The browser's list of paths and sizes. */
export function browserSizes(files: Tree) {
  const list = Object.entries(files).map(([path, content]) => ({
    path,
    size: Buffer.byteLength(content as string),
  }));
  return {
    mode: 'path-size-v1',
    file_count: list.length,
    total_size: list.reduce((sum, { size }) => sum + size, 0),
    files: list.sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

/** Names whose order tells the browser's from an order by components, by bytes and by code points. */
export const AWKWARD: Tree = {
  'a-b': 'dash',
  'a/b': 'slash',
  'a b': 'space',
  'a.txt': 'dot',
  'a/é.txt': 'né',
  'a/z/deep': 'x'.repeat(1000),
  empty: '',
  Z: 'upper',
  '日本/ファイル': Buffer.from([0x00, 0xff]),
  '🧬.fa': 'ACGT',
  '\uffee': 'halfwidth',
  big: Buffer.from(Array.from({ length: 256 * 2048 }, (_, at) => at & 0xff)),
};
/** Of {@link AWKWARD}, computed by another implementation (blake3 1.0 of PyPI, `sorted(key=utf-16-be)`). */
export const AWKWARD_HASH = '7b9af118fbf6c511217eb00d487e0a3e47218e2d1959954a6d37d9f042e4fba0';
