import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  HeaderLog,
  headersPath,
  keptHeaders,
  readHeaders,
} from '../../workers/content/unpack/kept-headers.ts';
import { makePlace } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';

const HEADER = 512;
const FAR = 8 * 1024 * 1024; // What follows each header: so that each has a frame of its own.
const headers = Array.from({ length: 5 }, () => randomBytes(HEADER));
const start = (index: number): number => index * (HEADER + FAR);
const end = (index: number): number => start(index) + HEADER;

/** As the bundle goes by from its beginning, up to so many headers. */
function goesBy(target: string, count: number): void {
  const log = new HeaderLog(target);
  for (const [index, header] of headers.slice(0, count).entries()) {
    log.add(header, start(index));
    log.reached(end(index), end(index) + FAR);
  }
  log.close();
}

const kept = (target: string): Buffer => Buffer.concat([...readHeaders(target, keptHeaders(target))]);

test('a frame that a kill cut short does not count, and is written anew behind those that do', async () => {
  const place = await makePlace();
  const target = place.path('tree');
  goesBy(target, 3);
  expect(keptHeaders(target)).toEqual({ offset: end(2), bytes: statSync(headersPath(target)).size });
  truncateSync(headersPath(target), statSync(headersPath(target)).size - 1);
  expect(keptHeaders(target).offset).toBe(end(1));
  goesBy(target, 5);
  expect(keptHeaders(target)).toEqual({ offset: end(4), bytes: statSync(headersPath(target)).size });
  expect(kept(target).equals(Buffer.concat(headers))).toBe(true);
  // From the first one on: what is noted is not noted once more.
  goesBy(target, 5);
  expect(kept(target).equals(Buffer.concat(headers))).toBe(true);
});

test.each([1, 2])('of %i frames that stand there twice each counts once', async (count) => {
  const place = await makePlace();
  const target = place.path('tree');
  goesBy(target, count);
  const { bytes } = keptHeaders(target);
  const file = readFileSync(headersPath(target));
  writeFileSync(headersPath(target), Buffer.concat([file, file]));
  expect(keptHeaders(target)).toEqual({ offset: end(count - 1), bytes });
});

test.each([
  ['nothing', 0, 1e9],
  ['more than a frame may hold', 9 * 1024 * 1024, 1e9],
  ['a header that ends nowhere', 100, Number.NaN],
])('a frame of %s does not count', async (_, length, offset) => {
  const place = await makePlace();
  const target = place.path('tree');
  goesBy(target, 2);
  const before = keptHeaders(target);
  const head = Buffer.alloc(12);
  head.writeUInt32LE(length, 0);
  head.writeDoubleLE(offset, 4);
  appendFileSync(headersPath(target), head);
  truncateSync(headersPath(target), statSync(headersPath(target)).size + length);
  expect(keptHeaders(target)).toEqual(before);
});

test('the header of a large file is noted before its bytes come', async () => {
  const place = await makePlace();
  const target = place.path('tree');
  const log = new HeaderLog(target);
  log.add(headers[0] as Buffer, 0);
  log.reached(HEADER, HEADER + FAR);
  expect(keptHeaders(target).offset).toBe(HEADER);
  log.close();
});

test('where an attempt ends by itself it notes what is complete', async () => {
  const place = await makePlace();
  const target = place.path('tree');
  const log = new HeaderLog(target);
  for (const [index, header] of headers.entries()) {
    log.add(header, index * HEADER);
    if (index < 4) log.reached((index + 1) * HEADER, (index + 1) * HEADER);
  }
  log.close();
  expect(keptHeaders(target).offset).toBe(4 * HEADER);
  expect(kept(target).equals(Buffer.concat(headers.slice(0, 4)))).toBe(true);
});

test('that there is no room to note it is not why the attempt ends', async ({ skip }) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('full'), ['size=8k']);
  if (folder === null) return skip('NOT TESTED: a tmpfs cannot be mounted here');
  const target = place.path('full/tree');
  goesBy(target, 1);
  writeFileSync(place.path('full/other'), Buffer.alloc(4096));
  const log = new HeaderLog(target);
  log.add(randomBytes(8192), end(0));
  log.reached(end(0) + 8192, end(0) + 8192);
  log.close();
  expect(keptHeaders(target).offset).toBe(end(0));
});
