import { spawnSync } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { FILE_SYSTEM } from '../system-calls.ts';

/** Of a file; the holes lie in between. */
export interface Part {
  readonly offset: number;
  readonly length: number;
}

/** SEEK_DATA and SEEK_HOLE, in turn, until the end. */
const SCRIPT = `
use strict;
my ($at, $size, $most) = (0, $ARGV[0] + 0, $ARGV[1] + 0);
while ($at < $size && $most-- > 0) {
  my $data = sysseek(STDIN, $at, 3);
  exit($! == 6 ? 0 : 1) unless defined $data; # ENXIO: no data behind this place.
  my $hole = sysseek(STDIN, $data + 0, 4);
  exit 1 unless defined $hole;
  print $data + 0, ' ', $hole + 0, "\\n";
  $at = $hole + 0;
}
exit($at < $size ? 2 : 0);
`;

/**
 * ext4, XFS and tmpfs. Of ZFS there were versions that called data a hole that had just been written, and of a network it is
 * not known who answers; a wrong answer would be archived, with a digest that proves it.
 */
const TRUSTED_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  FILE_SYSTEM.ext4,
  FILE_SYSTEM.xfs,
  FILE_SYSTEM.tmpfs,
]);

/** Where compression is at work, fewer blocks than a file's size needs are no sign of holes. */
export const tellsHoles = (path: string): boolean => TRUSTED_FILE_SYSTEMS.has(statfsSync(path).type);

/** Of more parts than this the list would be long, and reading them all is not the larger part of the work. */
const MAX_PARTS = 100_000;

/**
 * The parts of an open file that are allocated, in whole pages; null where that cannot be found out. Through perl, since
 * Node has no lseek: reading 100 GB of holes takes more than three minutes (0.5 GB/s: each page of zeros is made first), a
 * run of perl five milliseconds.
 */
export function allocatedParts(fd: number, size: number, page: number): Part[] | null {
  if (!tellsHoles(`/proc/self/fd/${fd}`)) return null;
  const args = ['-e', SCRIPT, '--', String(size), String(MAX_PARTS)];
  const done = spawnSync('perl', args, {
    stdio: [fd, 'pipe', 'ignore'],
    encoding: 'latin1',
    maxBuffer: MAX_PARTS * 40,
  });
  if (done.error !== undefined || done.status !== 0) return null;
  const parts: { -readonly [K in keyof Part]: Part[K] }[] = [];
  for (const line of done.stdout.split('\n')) {
    if (line === '') continue;
    const [data = Number.NaN, hole = Number.NaN] = line.split(' ').map(Number);
    const start = Math.floor(data / page) * page;
    const end = Math.min(Math.ceil(hole / page) * page, size);
    const last = parts.at(-1);
    // A file system with blocks smaller than a page may have two parts in one.
    if (last !== undefined && start <= last.offset + last.length) last.length = end - last.offset;
    else parts.push({ offset: start, length: end - start });
  }
  return parts.every(({ offset, length }) => Number.isSafeInteger(offset) && length >= 0) ? parts : null;
}
