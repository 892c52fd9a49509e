import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Release } from '../../queue/registry.ts';
import { commitOf, packageVersion } from './code-version.ts';

const ROOT = join(import.meta.dirname, '../../..');
const CODE = ['config', 'workers', 'scripts'];

/**
 * What this process runs. The digest is over the files themselves (about 300, 10 ms): a commit does not tell what was
 * changed by hand on one node, and a container has none.
 */
export function readRelease(root = ROOT): Release {
  return {
    version: packageVersion(root),
    commit: commitOf(root)?.slice(0, 10) ?? null,
    code: codeOf(root),
  };
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

function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
