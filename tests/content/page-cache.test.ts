import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { dropCached, onOwnDisk } from '../../workers/content/page-cache.ts';
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
