import { truncateSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { compareTree } from '../../workers/content/compare/compare.ts';
import { DigestPool } from '../../workers/content/digest/pool.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { makePlace } from '../support/place.ts';

const BYTES = 128 * 1024 * 1024;

test('a large file is told of while it is read, and its size is not told before', async () => {
  const place = await makePlace();
  const root = place.dir('data');
  writeFileSync(place.path('data/large'), 'begins');
  truncateSync(place.path('data/large'), BYTES); // A hole is read like any file.
  const told: number[] = [];
  const pool = new DigestPool(root, ['md5'], { tell_ms: 1, onRead: (bytes) => told.push(bytes) });
  try {
    let digested = 0;
    await pool.add('large', BYTES, () => (digested = told.length));
    await pool.settle();
    const before = told.slice(0, digested);
    expect(before.some((bytes) => bytes > 0 && bytes < BYTES)).toBe(true);
    expect(told.at(-1)).toBe(BYTES);
    expect(told).toEqual(told.toSorted((a, b) => a - b));
  } finally {
    await pool.close();
  }
});

test('a comparison that reads tells the bytes that it has read, not those that it has listed', async () => {
  const place = await makePlace();
  const root = place.dir('data');
  const files = 1_100;
  for (let number = 0; number < files; number += 1) writeFileSync(place.path(`data/${number}`), 'x');
  const manifest = place.path('manifest');
  const digests = { member: ['md5'], bundle: ['blake3'] } as const;
  await packBundle({ source: root, target: place.path('bundle.tar'), manifest, digests });
  const told: { files: number; bytes: number }[] = [];
  const onProgress = (progress: { files: number; bytes: number }): void => void told.push(progress);
  const found = await compareTree({ root, manifest, level: 'readback', onProgress });
  expect(found.num_problems).toBe(0);
  // The first thousand is listed when its last batch is not yet on its way to a thread.
  expect(told[0]?.bytes).toBeLessThan(told[0]?.files ?? 0);
  expect(told.at(-1)).toEqual({ files, bytes: files });
});
