import { closeSync, constants, openSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { reportOf } from '../../errors.ts';
import { Beneath } from '../beneath.ts';
import { createHasher, type Digests, digestOf } from './digest.ts';
import type { DigestAnswer, DigestBatch, DigestThreadData } from './pool.ts';
import { reading, readUpTo } from '../files.ts';
import { absolutePath, isVanished, vanished } from '../walk.ts';

const { base, digests, read } = workerData as DigestThreadData;
const buffer = Buffer.allocUnsafe(256 * 1024);
/** Opened for the first file; ends with the thread. */
let beneath: Beneath | null = null;

/** The entry may have become a link, or a FIFO on which one would wait for ever, since it was listed. */
const AS_IT_WAS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

function digestFile(path: string): Digests | { problem: string } {
  let fd: number;
  try {
    beneath ??= new Beneath(base);
    fd = openSync(beneath.at(path), AS_IT_WAS);
  } catch (error) {
    if (isVanished(error)) throw vanished(path);
    const { code, message } = beneath?.named(error, path) ?? (error as NodeJS.ErrnoException);
    // Known already from the walk, where access(2) was asked; here it has no digest.
    if (code === 'EACCES' || code === 'EPERM') return {};
    return { problem: `cannot be read: ${message}` };
  }
  try {
    return reading(absolutePath(base, path), () => digestOpen(fd));
  } finally {
    closeSync(fd);
  }
}

function digestOpen(fd: number): Digests {
  const next = (): number => {
    const length = readUpTo(fd, buffer);
    Atomics.add(read, 0, BigInt(length));
    return length;
  };
  const first = next();
  if (first < buffer.length) return digestOf(digests, buffer.subarray(0, first));
  const hasher = createHasher(digests);
  for (let length = first; length > 0; length = next()) hasher.update(buffer.subarray(0, length));
  return hasher.digests();
}

parentPort?.on('message', (batch: DigestBatch) => {
  let answer: DigestAnswer;
  try {
    answer = { results: batch.paths.map(digestFile) };
  } catch (error) {
    answer = { failed: reportOf(error) };
  }
  parentPort?.postMessage(answer);
});
