import { execFileSync } from 'node:child_process';
import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { paxTime } from '../../workers/content/tar/pax.ts';
import { recallMembers } from '../../workers/content/recall/recall.ts';
import { createAsked } from '../../workers/content/recall/paths.ts';
import { surveyRecall } from '../../workers/content/recall/survey.ts';
import { openRecallTarget } from '../../workers/content/recall/target.ts';
import { unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { createArchiveReads } from '../support/archive-reads.ts';
import { makePlace, type Place } from '../support/place.ts';
import { makeSparse, portrait } from './trees.ts';

const TIMES: Record<string, string> = {
  large: '2024-05-06 07:08:09.123456789',
  holes: '2024-05-06 07:08:09.000000001',
  small: '2024-05-06 07:08:09.987654321',
  whole: '2024-05-06 07:08:09',
  folder: '2023-01-02 03:04:05.5',
  link: '2022-01-02 03:04:05.25',
  'before 1970': '1960-01-02 03:04:05.75',
  'folder before 1970': '1960-01-02 03:04:05.5',
  'link before 1970': '1960-01-02 03:04:05.25',
  'after 2242': '2300-01-02 03:04:05.125',
};

async function packed(place: Place, pax_times: 'large' | 'all'): Promise<void> {
  const source = place.dir('source');
  writeFileSync(join(source, 'large'), Buffer.alloc(64 * 1024, 1));
  makeSparse(join(source, 'holes'), 2_000_000, [0]);
  for (const name of ['small', 'whole', 'before 1970', 'after 2242']) writeFileSync(join(source, name), name);
  for (const name of ['folder', 'folder before 1970']) place.dir('source', name);
  for (const name of ['link', 'link before 1970']) symlinkSync('small', join(source, name));
  for (const [name, time] of Object.entries(TIMES))
    execFileSync('touch', ['-h', '-d', `${time} UTC`, join(source, name)]);
  await packBundle({
    source,
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
    pax_times,
  });
}

/** Seconds and nanoseconds, as `find` prints them. */
function timesBelow(root: string): Record<string, string> {
  const listed = execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P\\t%T@\\n'], {
    cwd: root,
    encoding: 'utf8',
  });
  return Object.fromEntries(
    listed
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t')),
  );
}

test('large files bring their nanoseconds to any tar; small ones do where a pax header is there anyway', async () => {
  const place = await makePlace();
  await packed(place, 'large');
  execFileSync('tar', ['xf', place.path('bundle.tar'), '-C', place.dir('out')]);
  const kept = timesBelow(place.path('source'));
  const found = timesBelow(place.path('out'));
  for (const name of ['large', 'holes', 'whole', 'before 1970', 'after 2242'])
    expect([name, found[name]]).toEqual([name, kept[name]]);
  for (const name of ['small', 'folder', 'link'])
    expect([name, found[name]]).toEqual([name, kept[name]?.replace(/\.\d+/, '.0000000000')]);
});

test('with pax_times: all every member brings them', async () => {
  const place = await makePlace();
  await packed(place, 'all');
  execFileSync('tar', ['xf', place.path('bundle.tar'), '-C', place.dir('out')]);
  expect(timesBelow(place.path('out'))).toEqual(timesBelow(place.path('source')));
  const { root } = await unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('ours') });
  expect(portrait(root)).toEqual(portrait(place.path('source')));
});

test('with the manifest every member has its time back to the microsecond', async () => {
  const place = await makePlace();
  await packed(place, 'large');
  const manifest = place.path('manifest');
  await unpackBundle({ bundle: place.path('bundle.tar'), target: place.dir('out'), manifest });
  expect(portrait(place.path('out'))).toEqual(portrait(place.path('source')));
});

test('a recall brings them back as well, those before 1970 included', async () => {
  const place = await makePlace();
  await packed(place, 'large');
  const manifest = place.path('manifest');
  const asked = createAsked(['.']);
  const survey = await surveyRecall({ manifest, asked, to: place.path('out') });
  const target = await openRecallTarget(place.path('out'), { force: false });
  await recallMembers({
    manifest,
    asked,
    target,
    read: createArchiveReads(place.path('bundle.tar')).read,
    done: survey.done,
    onDamage: async (_, error) => {
      throw error;
    },
  });
  await target.complete();
  await target.close();
  expect(portrait(place.path('out'))).toEqual(portrait(place.path('source')));
});

test.each([
  [0n, '0'],
  [1n, '0.000000001'],
  [1_500_000_000n, '1.5'],
  [-1n, '-0.000000001'],
  [-2_250_000_000n, '-2.25'],
  [1_714_979_289_123_456_789n, '1714979289.123456789'],
  [60_000_000_000_000_000_000n, '60000000000'],
])('%d ns are %s seconds', (ns, text) => {
  expect(paxTime(ns)).toBe(text);
});
