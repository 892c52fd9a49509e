import { closeSync, openSync, readSync, truncateSync } from 'node:fs';
import type { DigestName } from '../../../config/index.ts';
import { LongshoreError } from '../../errors.ts';
import { appendLine, type Checkpoint, ledgerPath } from './checkpoint.ts';
import { createHasher, digestMismatch, type Digests, type Hasher } from '../digest/digest.ts';
import { syncFully, writeFully } from '../files.ts';
import { openConsumer, type RingMemory, SLOT_BYTES } from '../ring.ts';
import { serveThread } from '../threads.ts';

interface Data {
  readonly target: string;
  readonly digests: readonly DigestName[];
  readonly checkpoint: Checkpoint | null;
}

/** The second thread of packing: digests the bundle as it leaves the ring, and writes it. */
function writeBundle(
  { target, digests, checkpoint }: Data,
  ring: RingMemory,
): { size: number; digests: Digests } {
  const consumer = openConsumer(ring);
  const hasher = createHasher(digests);
  let size = 0;
  if (checkpoint !== null) {
    proveKept(target, hasher, checkpoint);
    size = checkpoint.mark.offset;
    truncateSync(target, size);
  }
  const fd = openSync(target, checkpoint === null ? 'w' : 'a', 0o644);
  try {
    for (let slot = consumer.take(); slot !== null; slot = consumer.take()) {
      writeFully(fd, slot, target);
      hasher.update(slot);
      size += slot.length;
      consumer.release();
      if (consumer.marked()) appendLine(ledgerPath(target), { offset: size, digests: hasher.soFar() });
    }
    syncFully(fd, target);
  } finally {
    closeSync(fd);
  }
  return { size, digests: hasher.digests() };
}

/** Reads what is there once: the digests go on from it, and at each entry of the ledger they must be what they were. */
function proveKept(target: string, hasher: Hasher, { ledger }: Checkpoint): void {
  const fd = openSync(target, 'r');
  const buffer = Buffer.allocUnsafe(4 * SLOT_BYTES);
  try {
    let at = 0;
    let good = 0;
    for (const { offset, digests } of ledger) {
      while (at < offset) {
        const length = readSync(fd, buffer, 0, Math.min(buffer.length, offset - at), at);
        if (length === 0) throw damaged(target, good);
        hasher.update(buffer.subarray(0, length));
        at += length;
      }
      if (digestMismatch(digests, hasher.soFar()) !== null) throw damaged(target, good);
      good = offset;
    }
  } finally {
    closeSync(fd);
  }
}

/** Caught by packBundle, which goes on from an earlier place. */
const damaged = (target: string, good: number): LongshoreError =>
  new LongshoreError('E_BUNDLE_CORRUPT', `the half bundle ${target} is damaged after byte ${good}`, {
    fields: { path: target, checkpoint_good: good },
  });

await serveThread((data, ring) => writeBundle(data as Data, ring));
