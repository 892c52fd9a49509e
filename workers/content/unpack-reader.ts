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
  /** So many bytes of `copy` are there already, and are read instead of the bundle's. */
  readonly kept: number;
}

/** The first thread of unpacking: reads the bundle once, digests it, and writes the staged copy from the same buffer. */
function readBundle(
  { bundle, copy, digests, kept }: Data,
  ring: RingMemory,
): { size: number; digests: Digests } {
  const producer = openProducer(ring);
  const hasher = createHasher(digests);
  const fd = openSync(bundle, 'r');
  const copyFd = copy === null ? null : openSync(copy, kept > 0 ? 'r+' : 'w', 0o644);
  let size = 0;
  try {
    for (;;) {
      const slot = producer.acquire();
      const fromCopy = copyFd !== null && copy !== null && size < kept;
      const length = fromCopy
        ? reading(copy, () => readUpTo(copyFd, slot, size))
        : reading(bundle, () => readUpTo(fd, slot, size));
      if (length === 0) break;
      const bytes = slot.subarray(0, length);
      // Published first, so that the other thread extracts while this one digests; nobody writes to a published slot
      // before the next acquire of the same slot, which only this thread does.
      producer.publish(length);
      hasher.update(bytes);
      if (copyFd !== null && copy !== null && !fromCopy) writeFully(copyFd, bytes, copy, size);
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
