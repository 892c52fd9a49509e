import { closeSync, openSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import { createHasher, type Digests } from '../digest/digest.ts';
import { reading, readUpTo } from '../files.ts';
import { type Pace, waitAfter } from './pace.ts';
import { openProducer, type RingMemory, type RingProducer } from '../ring.ts';
import { serveThread } from '../threads.ts';

interface Data {
  readonly bundle: string;
  readonly digests: readonly DigestName[];
  readonly pace: Pace | null;
}

/** The first thread of a proof: reads the bundle once, as fast as it may, and digests it. */
function readBundle({ bundle, digests, pace }: Data, ring: RingMemory): { size: number; digests: Digests } {
  const producer = openProducer(ring);
  const hasher = createHasher(digests);
  const fd = open(bundle);
  let size = 0;
  try {
    for (;;) {
      const slot = producer.acquire();
      const length = reading(bundle, () => readUpTo(fd, slot));
      if (length === 0) break;
      producer.publish(length);
      hasher.update(slot.subarray(0, length)); // Nobody writes to it before the next acquire of the same slot.
      size += length;
      if (pace !== null) nap(waitAfter(pace, length), producer);
    }
    producer.end();
  } finally {
    closeSync(fd);
  }
  return { size, digests: hasher.digests() };
}

function open(bundle: string): number {
  try {
    return openSync(bundle, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new LongshoreError('E_BUNDLE_MISSING', `there is no bundle at ${bundle}`, {
      fields: { path: bundle },
      cause: error,
    });
  }
}

/** A stop must not be slept through. */
const NAP_MS = 100;
const never = new Int32Array(new SharedArrayBuffer(4));

function nap(milliseconds: number, producer: RingProducer): void {
  for (let left = milliseconds; left > 0; left -= NAP_MS) {
    producer.check();
    Atomics.wait(never, 0, 0, Math.min(left, NAP_MS));
  }
}

await serveThread((data, ring) => readBundle(data as Data, ring));
