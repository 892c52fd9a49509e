/** Which of the places that a dead attempt has marked the next one goes on from. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, truncateSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  appendLine,
  type CheckpointHead,
  lastCheckpoint,
  ledgerPath,
  marksPath,
} from '../../workers/content/pack/checkpoint.ts';
import { type Begun, KeptData } from '../../workers/content/pack/kept.ts';
import { makePlace } from '../support/place.ts';

const head: CheckpointHead = {
  longshore_checkpoint: 3,
  source: '/source',
  member: ['blake3'],
  bundle: ['blake3'],
  pax_times: 'large',
  xattrs: false,
};

/** Marks at these places, and ledger lines, each with what tells it from another one of its place. */
async function marked(marks: readonly number[], ledger: readonly (readonly [number, string])[]) {
  const place = await makePlace();
  const at = { target: place.path('half.tar'), manifest: place.path('half.ndjson') };
  writeFileSync(at.target, Buffer.alloc(40));
  writeFileSync(at.manifest, Buffer.alloc(40));
  appendLine(marksPath(at.target), head);
  for (const offset of marks) appendLine(marksPath(at.target), { offset, manifest_bytes: offset });
  for (const [offset, blake3] of ledger) appendLine(ledgerPath(at.target), { offset, digests: { blake3 } });
  const found = (below?: number) => {
    const checkpoint = lastCheckpoint(at, head, below);
    return checkpoint === null
      ? null
      : [
          checkpoint.mark.offset,
          ...checkpoint.ledger.map(({ offset, digests }) => `${offset}${digests.blake3}`),
        ];
  };
  return { at, found };
}

test('it is the last one that the bundle, the manifest and the ledger have come to, or one before a place', async () => {
  const { at, found } = await marked(
    [10, 20, 30, 40, 50, 60],
    [
      [10, 'a'],
      [20, 'a'],
      [40, 'a'],
      [60, 'a'],
    ],
  );
  expect(found()).toEqual([40, '10a', '20a', '40a']);
  expect(found(40)).toEqual([20, '10a', '20a']);
  expect(found(10)).toBeNull();
  writeFileSync(at.manifest, Buffer.alloc(20));
  expect(found()).toEqual([20, '10a', '20a']);
  writeFileSync(at.target, Buffer.alloc(19));
  expect(found()).toEqual([10, '10a']);
});

test('what was found damaged and packed again has its places once, in order, as they were written last', async () => {
  const { found } = await marked(
    [10, 20, 30, 15, 20, 25],
    [
      [10, 'a'],
      [20, 'a'],
      [30, 'a'],
      [15, 'b'],
      [20, 'b'],
      [25, 'b'],
    ],
  );
  expect(found()).toEqual([25, '10a', '15b', '20b', '25b']);
});

test('nothing is believed of another head, nor behind a line that is damaged or not complete', async () => {
  const { at, found } = await marked([10, 20], [[10, 'a']]);
  appendFileSync(ledgerPath(at.target), 'damaged\n');
  appendLine(ledgerPath(at.target), { offset: 20, digests: { blake3: 'a' } });
  expect(found()).toEqual([10, '10a']);
  expect(lastCheckpoint(at, { ...head, pax_times: 'all' })).toBeNull();
  expect(lastCheckpoint({ ...at, target: `${at.target}.other` }, head)).toBeNull();
});

test('what a half bundle holds of a file comes in pieces, each of which may be the last', async () => {
  const target = (await makePlace()).path('half.tar');
  const bytes = randomBytes(3_000_000);
  writeFileSync(target, bytes);
  const open = { path: 'file', data_offset: 1000 } as Begun['open'];
  const pieces: Buffer[] = [];
  const each = (piece: Buffer): void => void pieces.push(Buffer.from(piece));
  const read = (end: number, check: () => void = () => undefined): number => {
    const kept = new KeptData({ open, target }, end, check);
    try {
      return kept.take(5_000_000, each);
    } finally {
      kept.close();
    }
  };
  expect(read(2_500_000)).toBe(2_499_000);
  expect(Buffer.concat(pieces).equals(bytes.subarray(1000, 2_500_000))).toBe(true);
  let asked = 0;
  const stop = (): void => {
    if (++asked === 2) throw new Error('stopped');
  };
  expect(() => read(2_500_000, stop)).toThrow('stopped');
  truncateSync(target, 2_000_000);
  expect(() => read(2_500_000)).toThrow('shorter than it was');
});
