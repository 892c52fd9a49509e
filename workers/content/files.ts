import { fsyncSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs';

/** A short write is no error to the kernel; the next one then says why (ENOSPC), and gets the path that Node leaves out. */
export function writeFully(fd: number, bytes: Buffer, path: string, position: number | null = null): void {
  try {
    for (let at = 0; at < bytes.length; )
      at += writeSync(fd, bytes, at, bytes.length - at, position === null ? null : position + at);
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path });
  }
}

/** A small file at once. Node names it in the error where it cannot be opened, and not where the disk is full. */
export function writeSmall(
  path: string,
  text: string | Buffer,
  options: { mode?: number; flag?: 'w' | 'a' } = {},
): void {
  try {
    writeFileSync(path, text, options);
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path });
  }
}

/** fsync says late what a write did not: on network file systems and under quotas that the disk is full. */
export function syncFully(fd: number, path: string): void {
  try {
    fsyncSync(fd);
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path });
  }
}

/** Of calls on an open file, which leave its path out: the error gets it. */
export async function namingPath<T>(path: string, calls: Promise<T>): Promise<T> {
  try {
    return await calls;
  } catch (error) {
    throw Object.assign(error as NodeJS.ErrnoException, { path });
  }
}

/** `read` as a call that names the file in its error: Node knows the path of an open file no more. */
export function reading<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const { syscall, path: known } = error as NodeJS.ErrnoException;
    throw syscall === 'read' && known === undefined ? Object.assign(error as Error, { path }) : error;
  }
}

/** Fills the buffer as far as the file goes, from `position` or where it stands; gives the number of bytes. */
export function readUpTo(fd: number, into: Buffer, position: number | null = null): number {
  let at = 0;
  while (at < into.length) {
    const length = readSync(fd, into, at, into.length - at, position === null ? null : position + at);
    if (length === 0) break;
    at += length;
  }
  return at;
}

/** Of a file; 0 where there is none. */
export const sizeOfFile = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** Null: there is no such file. */
export function textIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
