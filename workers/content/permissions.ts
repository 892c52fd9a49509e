/** Lets others read what is published, and walk to it, and nothing else. */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { isBelow } from '../dataset/paths.ts';
import { changed } from './hard-links.ts';
import { fsPath } from './path.ts';
import { absolutePath, type Member, walkTree } from './walk.ts';

const READ = constants.S_IROTH;
const READ_AND_ENTER = constants.S_IROTH | constants.S_IXOTH;

/** Members between two turns of the event loop. */
const MEMBERS_PER_TURN = 1000;

/** Adds others-read to every file and others-read-execute to every folder. Links are left alone, and not followed. */
export async function shareTree(
  root: string,
  options: { signal?: AbortSignal; onProgress?(members: number): void } = {},
): Promise<void> {
  let members = 0;
  for (const member of walkTree(root, options)) {
    const wanted = member.type === 'directory' ? READ_AND_ENTER : member.type === 'file' ? READ : 0;
    if ((member.mode & wanted) !== wanted) addBits(absolutePath(root, member.path), wanted, member);
    if (++members % MEMBERS_PER_TURN !== 0) continue;
    options.onProgress?.(members);
    await new Promise(setImmediate);
  }
  options.onProgress?.(members);
}

export const shareFile = (path: string): void => addBits(path, READ);

/**
 * By descriptor and O_NOFOLLOW: between the look and the change the name may have become a link out of the tree, or a folder
 * above it, where others may write to the copy. @throws E_SOURCE_CHANGED when it is not what was looked at
 */
function addBits(path: string, bits: number, looked?: Member): void {
  const fd = openSync(fsPath(path), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { mode, dev, ino } = fstatSync(fd, { bigint: true });
    if (looked !== undefined && (dev !== looked.dev || ino !== looked.ino))
      throw changed(looked.path, 'was replaced');
    fchmodSync(fd, (Number(mode) & 0o7777) | bits);
  } finally {
    closeSync(fd);
  }
}

/**
 * Adds others-execute to each folder above `path`, up to and not including `root`: others can walk through and list
 * nothing. False when root is not above path; nothing is changed then.
 */
export function openParents(path: string, root: string): boolean {
  const top = realpathSync(root);
  const real = realpathSync(path);
  if (!isBelow(top, real)) return false;
  for (let at = dirname(real); at !== top; at = dirname(at)) {
    const { mode } = statSync(at);
    if ((mode & constants.S_IXOTH) === 0) chmodSync(at, (mode & 0o7777) | constants.S_IXOTH);
  }
  return true;
}
