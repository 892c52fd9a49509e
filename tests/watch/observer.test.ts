import { mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import { observe } from '../../workers/watch/observer.ts';
import { createScanner, type Handle } from '../../workers/watch/scanner.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const log = createLogger('test', {});

async function watchPlace(poll_ms: number, fail: () => boolean = () => false) {
  const place = await makePlace();
  const path = place.path('source');
  const seen: string[] = [];
  let scans = 0;
  const names = new Set<string>();
  const handle: Handle = async function* (event) {
    if (fail()) throw new Error('the catalog is away');
    seen.push(...event.names);
    yield event.names;
  };
  const memory = {
    known: async () => names,
    apply: async () => undefined,
    note: async () => null,
    setNote: async () => undefined,
  };
  const scanner = createScanner({ path, memory, full_every: 1000, handle, log });
  const start = () => {
    const observer = observe({ scanner, poll_ms, log, onScan: () => (scans += 1) });
    onTestFinished(() => observer.stop());
    return observer;
  };
  return { place, path, seen, start, scans: () => scans };
}

test('a new folder is seen at once by the hint of the file system, long before the next poll', async () => {
  const { place, path, seen, start, scans } = await watchPlace(3_600_000);
  place.dir('source');
  start();
  await until(() => scans() === 1);
  mkdirSync(join(path, 'made'));
  await until(() => seen.includes('made'), { what: 'the hint of a new folder' });
  renameSync(place.dir('elsewhere'), join(path, 'moved in'));
  await until(() => seen.includes('moved in'), { what: 'the hint of a folder moved in' });
});

test('a source that was absent is watched as soon as it is polled, and hints work from then on', async () => {
  const { place, path, seen, start, scans } = await watchPlace(50);
  start();
  await until(() => scans() >= 2);
  mkdirSync(place.path('source'));
  mkdirSync(join(path, 'late'));
  await until(() => seen.includes('late'));
  expect(seen).toEqual(['late']);
});

test('a folder put in the place of the watched one is watched in its stead', async () => {
  const { place, path, seen, start, scans } = await watchPlace(50);
  place.dir('source');
  start();
  await until(() => scans() >= 1);
  renameSync(path, place.path('old'));
  renameSync(place.dir('new'), path);
  mkdirSync(join(path, 'in the new one'));
  await until(() => seen.includes('in the new one'));
});

test('errors never end the observation: after seven in a row the folder is still taken', async () => {
  let errors = 0;
  const { path, seen, start, place } = await watchPlace(2, () => (errors += 1) <= 7);
  place.dir('source', 'a');
  start();
  await until(() => seen.includes('a'));
  expect(errors).toBeGreaterThan(7);
  expect(path).toContain('source');
});

test('a hint is followed while the full scan has not ended, and that goes on afterwards', async () => {
  const place = await makePlace();
  const path = place.dir('source');
  place.dir('source', 'old');
  const names = new Set(['old']);
  let checked = 0;
  let checkedBefore = -1;
  const goesOn = () => checkedBefore < 0 || checked < checkedBefore + 10;
  const handle: Handle = async function* ({ event, names: found }) {
    if (event === 'add') {
      checkedBefore = checked;
      yield found;
    } else {
      for (; goesOn(); checked += 1) {
        await turn();
        yield [];
      }
      yield found;
    }
  };
  let notes = 0;
  const memory = {
    known: async () => names,
    apply: async () => undefined,
    note: async () => null,
    setNote: async ({ scans }: { scans: number }) => {
      if (scans === 0) notes += 1;
    },
  };
  const scanner = createScanner({ path, memory, full_every: 1, handle, log });
  const observer = observe({ scanner, poll_ms: 3_600_000, log });
  onTestFinished(() => observer.stop());
  await until(() => checked > 0);
  mkdirSync(join(path, 'new'));
  await until(() => checkedBefore > 0, { what: 'the new folder in the middle of the full scan' });
  await until(() => notes > 0, { what: 'the end of the full scan' });
  expect(checked).toBe(checkedBefore + 10);
});

test('stopping waits for the scan under way and leaves no timer or watcher', async () => {
  const { place, start, scans } = await watchPlace(3_600_000);
  place.dir('source');
  const observer = start();
  await until(() => scans() === 1);
  await observer.stop();
  const held = () => process.getActiveResourcesInfo().filter((name) => name === 'FSEventWrap');
  await until(() => held().length === 0, { what: 'the watcher to be closed' });
  const after = scans();
  mkdirSync(place.path('source', 'unseen'));
  await new Promise(setImmediate);
  expect(scans()).toBe(after);
});
