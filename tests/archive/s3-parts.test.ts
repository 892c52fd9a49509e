import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { etagOfParts, isOtherTag, md5Of } from '../../workers/archive/s3/etags.ts';
import { createPool, cutParts, MAX_PARTS, partSize, planParts } from '../../workers/archive/s3/parts.ts';

const MB = 1024 ** 2;
const GB = 1024 ** 3;
const md5 = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex');

test.for([
  ['nothing', 0, 64 * MB],
  ['less than a part', 1000, 64 * MB],
  ['as much as 10,000 parts hold', 64 * MB * MAX_PARTS, 64 * MB],
  ['a byte more', 64 * MB * MAX_PARTS + 1, 65 * MB],
  ['5 TB', 5 * 1024 * GB, 525 * MB],
] as const)('the parts of %s are planned', ([, size, part_bytes]) => {
  const plan = planParts(64 * MB, size);
  expect(plan).toEqual({ part_bytes, grows: false });
  expect(Math.ceil(size / plan.part_bytes)).toBeLessThanOrEqual(MAX_PARTS);
  expect(partSize(plan, MAX_PARTS)).toBe(part_bytes);
});

test('no part is larger than a socket takes at once, however large the object is', () => {
  expect(planParts(64 * MB, 100 * 1024 * GB).part_bytes).toBe(2 * GB - MB);
});

test('the parts of a stream without a size grow, so that 10,000 are enough', () => {
  const plan = planParts(64 * MB, null);
  expect(partSize(plan, 1)).toBe(64 * MB);
  expect(partSize(plan, 2000)).toBe(64 * MB);
  expect(partSize(plan, 2001)).toBe(128 * MB);
  expect(partSize(plan, 3000)).toBe(128 * MB);
  expect(partSize(plan, 3001)).toBe(256 * MB);
  const held = (part_bytes: number): number => {
    let all = 0;
    for (let number = 1; number <= MAX_PARTS; number++) all += partSize(planParts(part_bytes, null), number);
    return all;
  };
  expect(held(64 * MB)).toBeGreaterThan(5 * 1024 * GB);
  expect(held(5 * MB)).toBeGreaterThan(2.4 * 1024 * GB);
  for (const number of [9001, MAX_PARTS]) expect(partSize(plan, number)).toBeLessThan(2 * GB);
});

test('a stream is cut at the same places whatever its chunks are', async () => {
  const bytes = randomBytes(2500);
  const cut = async (chunk: number, size = bytes.length): Promise<unknown[]> => {
    const source = async function* (): AsyncGenerator<Buffer> {
      for (let at = 0; at < size; at += chunk) yield bytes.subarray(at, Math.min(at + chunk, size));
    };
    const pool = createPool();
    const parts = [];
    for await (const part of cutParts(source(), { part_bytes: 1000, grows: false }, pool)) {
      parts.push({ ...part, bytes: md5(part.bytes) });
      pool.giveBack(part.bytes);
    }
    return parts;
  };
  const part = (number: number, from: number, to: number, last: boolean): unknown => {
    const digest = md5(bytes.subarray(from, to));
    return { number, bytes: digest, md5: digest, last };
  };
  const expected = [part(1, 0, 1000, false), part(2, 1000, 2000, false), part(3, 2000, 2500, true)];
  for (const chunk of [1, 7, 999, 1000, 1001, 2500]) expect(await cut(chunk), `${chunk}`).toEqual(expected);
  expect(await cut(100, 1000)).toEqual([part(1, 0, 1000, true)]);
  expect(await cut(100, 0)).toEqual([part(1, 0, 0, true)]);
});

test('a pool gives its buffers out again, and not those from before the parts grew', () => {
  const pool = createPool();
  const first = pool.take(10);
  pool.giveBack(first.subarray(0, 3));
  expect(pool.take(10).buffer).toBe(first.buffer);
  expect(pool.take(10).buffer).not.toBe(first.buffer);
  pool.giveBack(first);
  expect(pool.take(20)).toHaveLength(20);
});

test('an ETag is believed only where it has the form of what is expected', () => {
  const one = md5(Buffer.from('one'));
  const other = md5(Buffer.from('other'));
  const two = etagOfParts([one, other]);
  expect(two).toBe(`${md5(Buffer.concat([Buffer.from(one, 'hex'), Buffer.from(other, 'hex')]))}-2`);
  expect(isOtherTag({ ETag: `"${one}"` }, one)).toBe(false);
  expect(isOtherTag({ ETag: `"${other}"` }, one)).toBe(true);
  expect(isOtherTag({ ETag: '"of-its-own-making"' }, one)).toBe(false);
  expect(isOtherTag({ ETag: `"${other}"`, ServerSideEncryption: 'aws:kms' }, one)).toBe(false);
  expect(isOtherTag({ ETag: `"${other}"`, ServerSideEncryption: 'AES256' }, one)).toBe(true);
  expect(isOtherTag({ ETag: `"${one}-2"` }, two)).toBe(true);
  expect(isOtherTag({ ETag: `"${one}"` }, two)).toBe(false);
  expect(md5Of({ ETag: `"${one}"` })).toBe(one);
  expect(md5Of({ ETag: `"${two}"` })).toBeNull();
  expect(md5Of({ ETag: `"${one}"`, SSECustomerAlgorithm: 'AES256' })).toBeNull();
});
