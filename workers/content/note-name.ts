import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { textIfThere } from './files.ts';

/** A name may have 255 bytes, and something is put behind it while it is written. */
const MOST_CHARACTERS = 200;

/**
 * The file in `notes` that tells of this path: one for each. Two that are too long for a name and begin alike (the archives
 * or stage folders of two types, deep in a file system) are told apart by a digest: else one would be taken for the other.
 * @param says what the note of this path holds
 */
export function notePath(notes: string, path: string, says = `${path}\n`): string {
  const name = encodeURIComponent(path);
  if (name.length <= MOST_CHARACTERS) return join(notes, name);
  // As it was named before they were told apart; it says itself whose it is.
  const cut = join(notes, name.slice(0, MOST_CHARACTERS));
  if (textIfThere(cut) === says) return cut;
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 12);
  return join(notes, `${name.slice(0, 180)}~${digest}`);
}
