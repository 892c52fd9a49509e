import { closeSync, fsyncSync, openSync } from 'node:fs';
import type { DigestName } from '../../config/index.ts';
import { createHasher, type Digests } from './digest.ts';
import { writeFully } from './files.ts';
import { openConsumer, type RingMemory } from './ring.ts';
import { serveThread } from './threads.ts';

interface Data {
  readonly target: string;
  readonly digests: readonly DigestName[];
}

/** The second thread of packing: digests the bundle as it leaves the ring, and writes it. */
function writeBundle({ target, digests }: Data, ring: RingMemory): { size: number; digests: Digests } {
  const consumer = openConsumer(ring);
  const hasher = createHasher(digests);
  const fd = openSync(target, 'w', 0o644);
  let size = 0;
  try {
    for (let slot = consumer.take(); slot !== null; slot = consumer.take()) {
      writeFully(fd, slot, target);
      hasher.update(slot);
      size += slot.length;
      consumer.release();
    }
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  return { size, digests: hasher.digests() };
}

serveThread((data, ring) => writeBundle(data as Data, ring));
