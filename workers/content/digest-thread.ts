import { closeSync, constants, openSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { reportOf } from '../errors.ts';
import { createHasher, type Digests, digestOf } from './digest.ts';
import type { DigestAnswer, DigestBatch, DigestThreadData } from './digest-pool.ts';
import { reading, readUpTo } from './files.ts';
import { fsPath } from './path.ts';
import { absolutePath, isVanished, vanished } from './walk.ts';

const { base, digests, read } = workerData as DigestThreadData;
const buffer = Buffer.allocUnsafe(256 * 1024);

function digestFile(path: string): Digests | { problem: string } {
  let fd: number;
  try {
    fd = openSync(fsPath(absolutePath(base, path)), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isVanished(error)) throw vanished(path);
    const { code } = error as NodeJS.ErrnoException;
    // Known already from the walk, where access(2) was asked; here it has no digest.
    if (code === 'EACCES' || code === 'EPERM') return {};
    return { problem: `cannot be read: ${(error as Error).message}` };
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
