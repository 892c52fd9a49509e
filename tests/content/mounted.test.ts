/** Whether a folder lies where it lay, by what this host remembers of it. */
import { execFileSync } from 'node:child_process';
import { rmSync, symlinkSync } from 'node:fs';
import { expect, test } from 'vitest';
import { whyUnmounted } from '../../workers/content/mounted.ts';
import { makePlace } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';

const SKIPPED = 'NOT TESTED: a tmpfs cannot be mounted here';

test.for(['mount', 'link'])(
  'a folder below a %s whose file system is gone is not written into, until it is back or a person says so',
  async (below, { skip }) => {
    const place = await makePlace();
    const state = place.dir('state');
    const point = place.dir('mount');
    symlinkSync(point, place.path('link'));
    if (smallFileSystem(point, ['size=1m']) === null) return skip(SKIPPED);
    const folder = place.dir(below, 'stage');
    for (let times = 0; times < 2; times++) expect(whyUnmounted(state, folder)).toBeNull();
    execFileSync('umount', [point]);
    const away = whyUnmounted(state, folder);
    expect(away?.message).toBe(`${folder} was on the file system at ${point}, which is not mounted`);
    expect(whyUnmounted(state, folder)).toEqual(away);
    const [, note = ''] = /rm '([^']+)'/.exec(away?.remedy ?? '') ?? [];
    rmSync(note);
    expect(whyUnmounted(state, folder)).toBeNull();
    // A new file system in front of it is as good as the one behind it, and remembered in turn.
    smallFileSystem(point, ['size=1m']);
    expect(whyUnmounted(state, folder)).toBeNull();
    execFileSync('umount', [point]);
    expect(whyUnmounted(state, folder)).toEqual(away);
  },
);

test('folders with long names that begin alike are remembered apart', async ({ skip }) => {
  const place = await makePlace();
  const state = place.dir('state');
  const [one, other] = [place.dir('a'.repeat(220), 'one'), place.dir('a'.repeat(220), 'other')];
  if (smallFileSystem(one, ['size=1m']) === null) return skip(SKIPPED);
  for (let times = 0; times < 2; times++)
    expect([whyUnmounted(state, one), whyUnmounted(state, other)]).toEqual([null, null]);
});
