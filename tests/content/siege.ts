/** Unpacks bundles that were made to do harm, and holds what lies around the target to what it was. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type UnpackOptions, type UnpackResult, unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace, type Place } from '../support/place.ts';
import { member } from './tar-writer.ts';

export type Outcome = 'unsafe' | 'corrupt' | 'too large' | readonly string[];

const CODES = { unsafe: 'E_BUNDLE_UNSAFE', corrupt: 'E_BUNDLE_CORRUPT', 'too large': 'E_NO_SPACE' } as const;

export const unpack = (place: Place, options: Partial<UnpackOptions> = {}): Promise<UnpackResult> =>
  unpackBundle({ bundle: place.path('bundle.tar'), target: place.path('a/b/out'), ...options });

/** A place with victims on every level above the target, one of them to be met by an absolute name. */
export async function besieged(): Promise<Place> {
  const place = await makePlace();
  place.dir('a/b/out');
  for (const folder of ['.', 'a', 'a/b']) {
    writeFileSync(place.path(folder, 'victim'), `the victim in ${folder}`);
    symlinkSync('victim', place.path(folder, 'link-to-victim'));
    place.dir(folder, 'victims');
  }
  return place;
}

/** Everything around the target: names, types, modes, sizes, links, inodes, times, and the bytes. */
export function surroundings(place: Place): string {
  const format = '%P\t%y\t%m\t%s\t%l\t%i\t%n\t%T@\n';
  const target = place.path('a/b/out');
  const listed = execFileSync('find', [place.folder, '-path', target, '-prune', '-o', '-printf', format], {
    encoding: 'latin1',
  });
  // The folder that holds the target is touched: a list that has no name any more is made there, too.
  const known = listed.replace(/^(a\/b\td\t.*)\t[^\t]*$/m, '$1');
  const victims = ['victim', 'a/victim', 'a/b/victim'].map((name) => readFileSync(place.path(name), 'utf8'));
  return (
    createHash('sha256')
      .update([known, ...victims].join('\0'))
      .digest('hex') + known
  );
}

/** `path type`, with the size of a file and the target of a link. */
export function made(place: Place): string[] {
  const format = '%P %y%s %l\\0';
  return execFileSync('find', ['.', '-mindepth', '1', '-printf', format], {
    cwd: place.path('a/b/out'),
    encoding: 'utf8',
  })
    .split('\0')
    .filter(Boolean)
    .map((line) => line.replace(/ d\d+ $/, ' d').trimEnd())
    .sort();
}

export async function attack(bundle: Buffer | ((place: Place) => Buffer), outcome: Outcome): Promise<void> {
  const place = await besieged();
  writeFileSync(place.path('bundle.tar'), typeof bundle === 'function' ? bundle(place) : bundle);
  const before = surroundings(place);
  const unpacking = unpack(place);
  if (typeof outcome === 'string') await expect(unpacking).rejects.toMatchObject({ code: CODES[outcome] });
  else {
    await unpacking;
    expect(made(place)).toEqual(outcome);
  }
  expect(surroundings(place)).toBe(before);
}

/** Each row: what it is, the bundle, what comes of it. */
export type Row = readonly [string, Buffer | ((place: Place) => Buffer), Outcome];
export const attacks = (title: string, rows: readonly Row[]): void => {
  describe(title, () => {
    test.each(rows)('%s', (_, bundle, outcome) => attack(bundle, outcome));
  });
};

export const file = (name: string, data = 'evil'): Buffer => member({ name, data });
export const folder = (name: string): Buffer => member({ name, type: '5', mode: 0o755 });
export const link = (name: string, to: string): Buffer => member({ name, type: '2', link: to });
export const hard = (name: string, to: string): Buffer => member({ name, type: '1', link: to });
