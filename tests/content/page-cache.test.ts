import { spawnSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { dropCached, dropCachedOfOthers, onOwnDisk } from '../../workers/content/page-cache.ts';
import { makePlace } from '../support/place.ts';

test('names that look like options, or hold a quote or a newline, are let go and stay as they are', async () => {
  const place = await makePlace();
  for (const name of ['-n', 'of=x', "it's\n$(rm)"]) {
    const path = place.path(name);
    writeFileSync(path, 'alpha');
    const { mtimeNs, ino } = statSync(path, { bigint: true });
    await dropCached(path);
    expect(readFileSync(path, 'utf8')).toBe('alpha');
    expect(statSync(path, { bigint: true })).toMatchObject({ mtimeNs, ino });
  }
});

test('a file that is not there is for its reader to miss', async () => {
  const place = await makePlace();
  await dropCached(place.path('nothing'));
});

test('a local disk is told from what another host keeps', async () => {
  const place = await makePlace();
  expect(onOwnDisk(place.folder)).toBe(true);
  // Any that is no disk: network file systems are those that are not named.
  expect(onOwnDisk('/proc')).toBe(false);
});

test('what lies on a disk of this host stays in its memory, unless a proof asks for it', async ({ skip }) => {
  const path = (await makePlace()).path('file');
  writeFileSync(path, Buffer.alloc(1024 * 1024, 1), { flush: true });
  const resident = (): number =>
    Number(spawnSync('fincore', ['-bno', 'RES', path], { encoding: 'utf8' }).stdout ?? Number.NaN);
  if (!(resident() > 0)) return skip('NOT TESTED: fincore is missing, or the file system has no pages');
  await dropCachedOfOthers(path);
  expect(resident()).toBe(1024 * 1024);
  await dropCached(path);
  expect(resident()).toBe(0);
});
