import fs, { readdirSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { withLock } from '../../workers/archive/fetch-folder.ts';
import { makeClaim } from '../../workers/content/claim.ts';
import { makePlace } from '../support/place.ts';

const { renameSync } = fs;

/** Calls `also` right after a file has got a name, once for each. */
function afterEachName(also: (path: string) => void): void {
  fs.renameSync = (from, to) => {
    renameSync(from, to);
    also(String(to));
  };
  syncBuiltinESMExports();
  onTestFinished(() => {
    fs.renameSync = renameSync;
    syncBuiltinESMExports();
  });
}

test('of two that take the lock at the same moment none has it, until one of them has given way', async () => {
  const place = await makePlace();
  const folder = place.dir('recall');
  const locks = (): string[] => readdirSync(folder).filter((name) => name.startsWith('lock-'));
  const living = makeClaim(place.path('living'));
  const other = join(folder, 'lock-other');
  let times = 0;
  afterEachName((path) => {
    if (dirname(path) !== folder || !basename(path).startsWith('lock-') || times > 0) return;
    times += 1;
    writeFileSync(other, fs.readFileSync(living.path)); // Both had found none.
  });
  const seen: string[][] = [];
  const held = await withLock(
    folder,
    undefined,
    () => {
      seen.push(locks());
      fs.rmSync(other);
    },
    async () => locks(),
  );
  living.release();
  expect(seen).toEqual([['lock-other']]);
  expect(held).toHaveLength(1);
  expect(locks()).toEqual([]);
});
