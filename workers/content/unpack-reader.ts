import { closeSync, fsyncSync, openSync } from 'node:fs';
import type { DigestName } from '../../config/index.ts';
import { createHasher, type Digests } from './digest.ts';
import { reading, readUpTo, writeFully } from './files.ts';
import { openProducer, type RingMemory } from './ring.ts';
import { serveThread } from './threads.ts';

interface Data {
  readonly bundle: string;
  readonly copy: string | null;
  readonly digests: readonly DigestName[];
}

/** The first thread of unpacking: reads the bundle once, digests it, and writes the staged copy from the same buffer. */
function readBundle({ bundle, copy, digests }: Data, ring: RingMemory): { size: number; digests: Digests } {
  const producer = openProducer(ring);
  const hasher = createHasher(digests);
  const fd = openSync(bundle, 'r');
  const copyFd = copy === null ? null : openSync(copy, 'w', 0o644);
  let size = 0;
  try {
    for (;;) {
      const slot = producer.acquire();
      const length = reading(bundle, () => readUpTo(fd, slot));
      if (length === 0) break;
      const bytes = slot.subarray(0, length);
      // Published first, so that the other thread extracts while this one digests; nobody writes to a published slot
      // before the next acquire of the same slot, which only this thread does.
      producer.publish(length);
      hasher.update(bytes);
      if (copyFd !== null && copy !== null) writeFully(copyFd, bytes, copy);
      size += length;
    }
    producer.end();
    if (copyFd !== null) fsyncSync(copyFd);
  } finally {
    closeSync(fd);
    if (copyFd !== null) closeSync(copyFd);
  }
  return { size, digests: hasher.digests() };
}

serveThread((data, ring) => readBundle(data as Data, ring));
