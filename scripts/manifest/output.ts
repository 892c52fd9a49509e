/** Where a manifest goes: stdout, or a file that shows under its name when it is complete. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { lstatSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { createLineWriter } from '../../workers/content/line-writer.ts';
import { partialPath, publishFile, removeFile } from '../../workers/content/publish.ts';
import { LongshoreError } from '../../workers/errors.ts';

export interface Output {
  /** Waits where the reader is slower than the writer. */
  write(text: string | Buffer): Promise<void>;
}

export async function withOutput(
  { to, force }: { to: string | undefined; force: boolean },
  body: (output: Output) => Promise<void>,
): Promise<void> {
  if (to === undefined) return body({ write: writeStdout });
  const final = resolve(to);
  refuseExisting(final, force);
  requireFolder(final);
  const partial = partialPath(final, randomUUID());
  const writer = createLineWriter(partial);
  try {
    await body({ write: async (text) => writer.write(text) });
    writer.close();
    publishFile(partial, final);
  } finally {
    writer.abandon();
    removeFile(partial);
  }
}

async function writeStdout(text: string | Buffer): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}

/** Else the failure would name the file that is written under another name first. @throws E_USAGE */
function requireFolder(path: string): void {
  const folder = dirname(path);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new LongshoreError('E_USAGE', `there is no folder ${folder}`, {
    fields: { path: folder },
    hint: 'Make it, or give another name to --to.',
  });
}

/** @throws E_USAGE */
export function refuseExisting(path: string, force: boolean): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || (force && found.isFile())) return;
  throw new LongshoreError('E_USAGE', `${path} exists`, {
    fields: { path },
    hint: found.isFile()
      ? 'Give another name to --to, or --force to replace it.'
      : 'Give another name to --to.',
  });
}
