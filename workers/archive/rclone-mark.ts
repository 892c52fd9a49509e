/** What tells an archive behind rclone that is away from one that is new. */
import { stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { namingPath } from '../content/files.ts';
import { notePath } from '../content/note-name.ts';
import { makeFoldersLater } from '../folders.ts';
import type { CallOptions } from './contract.ts';
import { type RcloneOptions, runRclone } from './rclone-run.ts';

export interface RcloneArchiveOptions extends RcloneOptions {
  /** Of this host. */
  readonly state_dir: string;
}

/** As the archive in a file system has one: some remotes (a mount, a folder of an sftp server) may be away in silence. */
export const MARK = '.longshore-archive';

const noteOf = ({ state_dir, name, remote }: RcloneArchiveOptions): string =>
  notePath(join(state_dir, 'archives'), `${name} ${remote}`, `${remote}\n`);

export async function isMarked(options: RcloneArchiveOptions): Promise<boolean> {
  return stat(noteOf(options)).then(
    () => true,
    () => false,
  );
}

/** Marks a remote that this host has never used; one that it has used and that lost its mark is away. */
export async function markOnce(
  options: RcloneArchiveOptions,
  mark: string,
  call: CallOptions,
): Promise<void> {
  if (await isMarked(options)) return;
  const text = Buffer.from('This folder is an archive of Longshore. Without this file it counts as away.\n');
  const input = async function* (): AsyncGenerator<Buffer> {
    yield text;
  };
  await runRclone(options, ['rcat', '--', mark], { ...call, input: input() });
  await makeFoldersLater(dirname(noteOf(options)));
  await namingPath(noteOf(options), writeFile(noteOf(options), `${options.remote}\n`));
}
