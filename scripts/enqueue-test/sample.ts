import { randomBytes, randomInt } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { namingPath } from '../../workers/content/files.ts';
import { reserveSpace, type SpaceRequest } from '../../workers/content/space.ts';

export interface Sample {
  /** Together, in bytes; FASTQ files come out a little smaller or larger. */
  size: number;
  files: number;
  fastq: boolean;
}

export interface SampleRoom extends Pick<SpaceRequest, 'keep' | 'state_dir'> {
  readonly signal?: AbortSignal;
}

/** Writes in pieces: a sample of many GB does not have to fit into memory. */
const PIECE = 8 * 1024 ** 2;

/**
 * A dataset to try things on, made anew each time so that nothing can be taken from an earlier one. Nothing stays of
 * one that could not be finished.
 *
 * @throws E_NO_SPACE before anything is written
 */
export async function makeSample(
  folder: string,
  sample: Sample,
  { keep, state_dir, signal }: SampleRoom,
): Promise<void> {
  const space = reserveSpace({ folder, bytes: sample.size, keep, state_dir, holder: 'a sample' });
  try {
    await writeSample(folder, sample, signal, (bytes) => space.spent(bytes));
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw signal?.aborted === true ? signal.reason : error;
  } finally {
    space.release();
  }
}

/** Without a look at the room: for a few kilobytes. */
export async function writeSample(
  folder: string,
  { size, files, fastq }: Sample,
  signal?: AbortSignal,
  spent?: (bytes: number) => void,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const share = Math.floor(size / Math.max(1, files));
  for (let number = 1; number <= files; number += 1) {
    // Every third in a folder of its own, so that there is a tree to walk.
    const place = number % 3 === 0 ? `lane_${number}` : '.';
    const bytes = number === files ? size - share * (files - 1) : share;
    const path = join(folder, place, fastq ? `sample_${number}_R1.fastq.gz` : `part_${number}.bin`);
    await mkdir(dirname(path), { recursive: true });
    await namingPath(path, writeFile(path, fastq ? reads(bytes, number) : noise(bytes), { signal }));
    spent?.(share * number);
  }
}

function* noise(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= PIECE) yield randomBytes(Math.min(left, PIECE));
}

const READ_LENGTH = 100;
/** A read of 100 bases comes to about this much when packed. */
const PACKED_READ = 95;

/** Gzip members one after the other are a gzip file. At least ten reads, so that QC has something to look at. */
function* reads(bytes: number, lane: number): Generator<Buffer> {
  const wanted = Math.max(10, Math.round(bytes / PACKED_READ));
  for (let read = 0; read < wanted; ) {
    let text = '';
    for (const end = Math.min(wanted, read + 20_000); read < end; read += 1) text += oneRead(lane, read);
    yield gzipSync(text, { level: 1 });
  }
}

function oneRead(lane: number, read: number): string {
  let bases = '';
  let qualities = '';
  for (const byte of randomBytes(READ_LENGTH)) {
    bases += 'ACGT'.charAt(byte & 3);
    qualities += String.fromCharCode(63 + ((byte >> 2) % 10)); // Phred 30 to 39.
  }
  const place = `${randomInt(1000, 9999)}:${randomInt(1000, 9999)}`;
  return `@LONGSHORE:1:TEST:${lane}:${read}:${place} 1:N:0:ACGT\n${bases}\n+\n${qualities}\n`;
}
