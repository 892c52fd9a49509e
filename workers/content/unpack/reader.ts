import { closeSync, openSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { createHasher, type Digests } from '../digest/digest.ts';
import { DirectFile } from '../direct-file.ts';
import { reading, readUpTo } from '../files.ts';
import { openProducer, type RingMemory } from '../ring.ts';
import { serveThread } from '../threads.ts';

interface Data {
  readonly bundle: string;
  readonly copy: string | null;
  readonly digests: readonly DigestName[];
  /** So many bytes of `copy` are there already, and are read instead of the bundle's. */
  readonly kept: number;
}

/** The first thread of unpacking: reads the bundle once, digests it, and writes the staged copy from the same buffer. */
async function readBundle(
  { bundle, copy, digests, kept }: Data,
  ring: RingMemory,
): Promise<{ size: number; digests: Digests }> {
  const producer = openProducer(ring);
  const hasher = createHasher(digests);
  const file = copy === null ? null : await DirectFile.open(copy, kept);
  const opened: number[] = [];
  const open = (path: string): number => {
    const fd = openSync(path, 'r');
    opened.push(fd);
    return fd;
  };
  let size = 0;
  try {
    const fd = open(bundle);
    const begun = copy === null || kept === 0 ? null : { copy, fd: open(copy) };
    for (;;) {
      const slot = producer.acquire();
      const from = begun !== null && size < kept ? begun : null;
      const length =
        from === null
          ? reading(bundle, () => readUpTo(fd, slot, size))
          : reading(from.copy, () => readUpTo(from.fd, slot, size));
      if (length === 0) break;
      const bytes = slot.subarray(0, length);
      // Published first, so that the other thread extracts while this one digests; nobody writes to a published slot
      // before the next acquire of the same slot, which only this thread does.
      producer.publish(length);
      hasher.update(bytes);
      if (from === null) await file?.write(bytes);
      size += length;
    }
    producer.end();
    await file?.sync();
  } finally {
    for (const fd of opened) closeSync(fd);
    await file?.close();
  }
  return { size, digests: hasher.digests() };
}

await serveThread((data, ring) => readBundle(data as Data, ring));
