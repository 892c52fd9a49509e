import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Release } from '../queue/registry.ts';

const ROOT = join(import.meta.dirname, '../..');
const CODE = ['config', 'workers', 'scripts'];

/**
 * What this process runs. The digest is over the files themselves (about 300, 10 ms): a commit does not tell what was
 * changed by hand on one node, and a container has none.
 */
export function readRelease(root = ROOT): Release {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return { version, commit: commitOf(root), code: codeOf(root) };
}

function codeOf(root: string): string {
  const digest = createHash('sha256');
  for (const file of ['package-lock.json', ...CODE.flatMap((folder) => filesOf(root, folder))]) {
    digest.update(`${file}\0`).update(readOrNull(join(root, file)) ?? '');
  }
  return digest.digest('hex').slice(0, 10);
}

const filesOf = (root: string, folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file))
    .toSorted();

/** Read from the files of git, because nodes of a fleet need not have the program. */
function commitOf(root: string): string | null {
  const pointer = /^gitdir: (.+)$/m.exec(readOrNull(join(root, '.git')) ?? '')?.[1];
  const folder = pointer ?? join(root, '.git');
  const head = readOrNull(join(folder, 'HEAD'))?.trim();
  const ref = head === undefined ? undefined : /^ref: (.+)$/.exec(head)?.[1];
  const commit = ref === undefined ? head : refOf(folder, ref);
  return commit?.slice(0, 10) ?? null;
}

function refOf(folder: string, ref: string): string | undefined {
  // A worktree of its own keeps HEAD apart and shares the branches.
  const common = join(folder, readOrNull(join(folder, 'commondir'))?.trim() ?? '.');
  const packed = readOrNull(join(common, 'packed-refs')) ?? '';
  return (
    readOrNull(join(common, ref))?.trim() ??
    packed
      .split('\n')
      .find((line) => line.endsWith(` ${ref}`))
      ?.split(' ')[0]
  );
}

function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
