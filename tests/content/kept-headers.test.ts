import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  HeaderLog,
  headersPath,
  keptHeaders,
  readHeaders,
} from '../../workers/content/unpack/kept-headers.ts';
import { makePlace } from '../support/place.ts';

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

test('a frame that stands there twice ends what is kept', async () => {
  const place = await makePlace();
  const target = place.path('tree');
  goesBy(target, 2);
  const { bytes } = keptHeaders(target);
  const file = readFileSync(headersPath(target));
  writeFileSync(headersPath(target), Buffer.concat([file, file]));
  expect(keptHeaders(target)).toEqual({ offset: end(1), bytes });
});
