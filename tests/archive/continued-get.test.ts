/** What of a file that was half fetched is gone on with. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type ContinuedGet, continueGet, endGet } from '../../workers/archive/continued-get.ts';
import { originPath } from '../../workers/archive/contract.ts';
import { flip } from '../support/archived.ts';
import { makePlace } from '../support/place.ts';

const bytes = randomBytes(300_000);
const HALF = 150_000;

/** A get that broke off in the middle, and how the next one goes. */
async function makeHalf(given: Partial<ContinuedGet> = {}) {
  const place = await makePlace();
  const target = place.path('target');
  const asked: number[] = [];
  const get = (more: Partial<ContinuedGet>, end = bytes.length) => {
    const read = async function* (offset: number): AsyncGenerator<Buffer> {
      asked.push(offset);
      for (let at = offset; at < end; at += 50_000) yield bytes.subarray(at, Math.min(at + 50_000, end));
      if (end < bytes.length) throw new Error('broken off');
    };
    const object = { location: 's3://b/k', version: 'one', size: bytes.length, md5: true };
    return continueGet({ target, ...object, read, ...given, ...more });
  };
  await expect(get({}, HALF)).rejects.toThrow('broken off');
  return { target, asked, get };
}

test('it goes on behind what is there, and has the digests of all', async () => {
  const { target, asked, get } = await makeHalf();
  const { size, digests } = await get({});
  expect(asked).toEqual([0, HALF]);
  expect(size).toBe(bytes.length);
  expect(readFileSync(target).equals(bytes)).toBe(true);
  const { digests: whole } = await (await makeHalf()).get({});
  expect(digests).toEqual(whole);
  endGet(target, true);
  expect([existsSync(target), existsSync(originPath(target))]).toEqual([true, false]);
});

test.each<[string, Partial<ContinuedGet>]>([
  ['another version', { version: 'two' }],
  // A time alone may not tell them apart.
  ['another size', { size: bytes.length + 1 }],
  ['another place', { location: 's3://b/other' }],
])('of %s nothing is kept', async (_, other) => {
  const { target, asked, get } = await makeHalf();
  await get(other);
  expect(asked).toEqual([0, 0]);
  expect(readFileSync(target).equals(bytes)).toBe(true);
});

test('where no version tells one object from another every get begins anew', async () => {
  const { asked, get } = await makeHalf({ version: '' });
  await get({ version: '' });
  expect(asked).toEqual([0, 0]);
});

test('what was altered, or is shorter than was noted, is fetched again', async () => {
  const altered = await makeHalf();
  flip(altered.target, 1000);
  await altered.get({});
  const shorter = await makeHalf();
  writeFileSync(shorter.target, bytes.subarray(0, 1000));
  await shorter.get({});
  for (const { asked, target } of [altered, shorter]) {
    expect(asked).toEqual([0, 0]);
    expect(readFileSync(target).equals(bytes)).toBe(true);
  }
});

test.each(['null', '{"location":"s3://b/k","version":"one","size":300000,"tynced":150000}', '{"location'])(
  'a note that says %s is of no use, and of no harm',
  async (note) => {
    const { target, asked, get } = await makeHalf();
    writeFileSync(originPath(target), note);
    await get({});
    expect(asked).toEqual([0, 0]);
    expect(readFileSync(target).equals(bytes)).toBe(true);
  },
);

test('what is not the object goes with its note', async () => {
  const { target } = await makeHalf();
  endGet(target, false);
  expect([existsSync(target), existsSync(originPath(target))]).toEqual([false, false]);
});
