import { execFileSync } from 'node:child_process';
import { linkSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect, onTestFinished, test, vi } from 'vitest';
import { isClaimed, makeClaim } from '../../workers/content/claim.ts';
import { makePlace } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { killedUnnoticed } from '../support/unnoticed.ts';

const MODULE = JSON.stringify(import.meta.resolve('../../workers/content/claim.ts'));

test('a claim counts until it is given up, and leaves nothing', async () => {
  const place = await makePlace();
  const claim = makeClaim(place.path('using-1'));
  expect(isClaimed(claim.path)).toBe(true);
  claim.release();
  expect(isClaimed(claim.path)).toBe(false);
  expect(readdirSync(place.folder)).toEqual([]);
});

test('one that finds no room leaves nothing, and half of one counts as dead', async ({ skip }) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('full'), ['size=4k']);
  if (folder === null) return skip('NOT TESTED: a tmpfs cannot be mounted here');
  writeFileSync(place.path('full/other'), Buffer.alloc(4096));
  expect(() => makeClaim(place.path('full/using-1'))).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(readdirSync(folder)).toEqual(['other']);
  writeFileSync(place.path('half'), '{"host":');
  expect(isClaimed(place.path('half'))).toBe(false);
});

test('a claim that is not given up keeps its process from no end', async () => {
  const place = await makePlace();
  const code = `(await import(${MODULE})).makeClaim(${JSON.stringify(place.path('using-1'))});`;
  execFileSync(process.execPath, ['--input-type=module', '-e', code], { timeout: 30_000 });
  expect(isClaimed(place.path('using-1'))).toBe(false);
});

test('whoever finds a claim finds all of it: half of one would count as dead, and be removed', async () => {
  const place = await makePlace();
  const path = place.path('using-1');
  writeFileSync(path, 'before');
  linkSync(path, place.path('before'));
  makeClaim(path).release();
  expect(readFileSync(place.path('before'), 'utf8')).toBe('before');
});

test('a process that has got the number of a dead one claims nothing for it', async () => {
  const place = await makePlace();
  const path = place.path('using-1');
  const note = (started: string): void =>
    writeFileSync(path, JSON.stringify({ host: hostname(), pid: process.pid, started }));
  const stat = readFileSync(`/proc/${process.pid}/stat`, 'latin1');
  note(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '');
  expect(isClaimed(path)).toBe(true);
  note('1');
  expect(isClaimed(path)).toBe(false);
});

test('a process that was killed claims nothing, also before its parent has noticed', async () => {
  const place = await makePlace();
  const path = place.path('using-1');
  await killedUnnoticed(`
    const { makeClaim } = await import(${MODULE});
    makeClaim(${JSON.stringify(path)});
  `);
  expect(readdirSync(place.folder)).toEqual(['using-1']);
  expect(isClaimed(path)).toBe(false);
});

test('a claim of another host counts while it is touched, and not when it has been silent for long', async () => {
  const place = await makePlace();
  const path = place.path('using-1');
  // Its number says nothing here: a process of ours may have it.
  writeFileSync(path, JSON.stringify({ host: 'elsewhere', pid: process.pid, started: '1' }));
  const touched = (seconds_ago: number): void => {
    const at = Date.now() / 1000 - seconds_ago;
    utimesSync(path, at, at);
  };
  touched(540);
  expect(isClaimed(path)).toBe(true);
  touched(660);
  expect(isClaimed(path)).toBe(false);
});

test('a claim is touched while it is held and there, so that other hosts see it live', async () => {
  const place = await makePlace();
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const claim = makeClaim(place.path('using-1'));
  utimesSync(claim.path, 1, 1);
  vi.advanceTimersByTime(60_000);
  expect(Date.now() - statSync(claim.path).mtimeMs).toBeLessThan(60_000);
  rmSync(claim.path); // As where its mount is away for a moment.
  vi.advanceTimersByTime(60_000);
  claim.release();
  writeFileSync(claim.path, '');
  utimesSync(claim.path, 1, 1);
  vi.advanceTimersByTime(60_000);
  expect(statSync(claim.path).mtimeMs).toBe(1000);
});
