import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGREED_FILES } from './agreed-code.ts';
import type { CodeReader } from './code-graph.ts';

export const ROOT = join(import.meta.dirname, '../../..');
/** Of the file that a process is started with, without its suffix. */
export const ENTRY = 'task';
/** Of processes, and of threads. */
export const SUFFIX = { cjs: '.cjs', esm: '.mjs' } as const;
/** What is brought together with a task, and what brings it together. */
export const COMPILED_PARTS = [
  '../isolation/agreement.ts',
  '../isolation/task-attempts.ts',
  'code-version.ts',
  'compiled-trace.ts',
  'compile-task.ts',
].map((name) => join(import.meta.dirname, name));

/** All that the copy says something of: also what it must have in common with its worker. */
const NAMED_BY = [...COMPILED_PARTS, ...AGREED_FILES];

/**
 * Names the code that is on disk now, with all that its copy holds of this place: paths of the checkout, and where packages
 * lie in it.
 */
export function compiledName(task: string, file: string, reader: CodeReader): string {
  const { digest } = reader.graph(file, ...NAMED_BY);
  const sum = createHash('sha256').update(
    JSON.stringify([ROOT, file, digest, packagesDigest(), process.version]),
  );
  return `${task}-${sum.digest('hex').slice(0, 20)}`;
}

let packages: string | null = null;

/** Once for each process: packages are not exchanged under a worker that runs. */
const packagesDigest = (): string =>
  (packages ??= createHash('sha256').update(installedPackages()).digest('hex'));

/** Written by npm with every change of `node_modules`. */
function installedPackages(): Buffer | string {
  try {
    return readFileSync(join(ROOT, 'node_modules/.package-lock.json'));
  } catch {
    return ''; // Installed by another tool.
  }
}
