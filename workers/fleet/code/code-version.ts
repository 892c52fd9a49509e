import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { isAbsolute, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CodeVersion } from '../../records/contract.ts';
import type { CodeGraph } from './code-graph.ts';

const ROOT = join(import.meta.dirname, '../../..');

/** @param digest of its {@link CodeGraph} */
export const versionOf = (digest: string): CodeVersion => ({
  digest,
  package: packageVersion(ROOT),
  commit: commitOf(ROOT),
});

/**
 * From now on these files are loaded from the texts that were digested, whatever becomes of them on the disk. An import
 * that a task makes only when it comes to it would else bring the code of tomorrow into an attempt of today; and the
 * version that is recorded is by this the one that runs, without a moment in between.
 */
export function pinCode({ files }: CodeGraph): void {
  registerHooks({
    load: (url, context, next) => {
      const text = url.startsWith('file:') ? files.get(fileURLToPath(url)) : undefined;
      if (text === undefined || !url.endsWith('.ts')) return next(url, context);
      return { format: 'module-typescript', source: text, shortCircuit: true };
    },
  });
}

export function packageVersion(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  return version;
}

/** Read from the files of git: a program would cost each attempt some milliseconds, and may not be installed. */
export function commitOf(root: string): string | null {
  const folder = gitFolder(join(root, '.git'));
  const head = textOf(join(folder, 'HEAD'));
  if (head === null) return null;
  const ref = /^ref: (.+)$/.exec(head)?.[1];
  if (ref === undefined) return head;
  // A further work tree keeps its branches in the folder of the first.
  const common = textOf(join(folder, 'commondir'));
  const shared = common === null ? folder : isAbsolute(common) ? common : join(folder, common);
  const packed = textOf(join(shared, 'packed-refs')) ?? '';
  const line = packed.split('\n').find((each) => each.endsWith(` ${ref}`));
  return textOf(join(shared, ref)) ?? line?.split(' ')[0] ?? null;
}

function gitFolder(path: string): string {
  const elsewhere = /^gitdir: (.+)$/.exec(textOf(path) ?? '')?.[1];
  return elsewhere ?? path;
}

function textOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return null;
  }
}
