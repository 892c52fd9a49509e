/** What a half bundle and its marks are worth when its origin, or they themselves, are not what they were. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { linesOf, type Mark, marksPath } from '../../workers/content/pack/checkpoint.ts';
import { packBundle, type PackOptions } from '../../workers/content/pack/pack.ts';
import { flip } from '../support/archived.ts';
import { makePlace, type Place } from '../support/place.ts';
import { writeTree } from '../tasks/landing.ts';
import { settleTimes, smallFiles } from './trees.ts';

interface Half {
  readonly place: Place;
  readonly source: string;
  readonly options: PackOptions & { target: string; manifest: string };
  readonly mark: Mark;
}

/** As a kill leaves it shortly after a mark: `within` the large file in the middle, or at the very `end`. */
async function makeHalf(where: 'within' | 'end'): Promise<Half> {
  const place = await makePlace();
  const source = place.path('source');
  const small = (folder: string) => smallFiles(folder, 12, () => 20_000);
  writeTree(source, {
    ...small('a'),
    'a/link': { link: 'here.' },
    'b/large': randomBytes(700_000),
    bare: null,
    ...small('c'),
    d: 'the last one',
  });
  settleTimes(source);
  const options = {
    source,
    target: place.path('half.tar'),
    manifest: place.path('half.ndjson'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
    checkpoint_bytes: 50_000,
    xattrs: false,
  } as const;
  await packBundle({ ...options, resume: true });
  const [, ...marks] = linesOf(marksPath(options.target)) as [unknown, ...Mark[]];
  const mark = marks.findLast(({ open }) => where === 'end' || open !== null);
  if (mark === undefined) throw new Error('no mark was made');
  truncateSync(options.target, mark.offset + 1000);
  truncateSync(options.manifest, mark.manifest_bytes);
  return { place, source, options, mark };
}

/** Goes on with the half, and compares with what an undisturbed process makes of the origin now. */
async function expectWhole({ place, options }: Half, changed: Partial<PackOptions> = {}): Promise<number[]> {
  const kept: number[] = [];
  await packBundle({ ...options, ...changed, resume: true, onResume: (offset) => void kept.push(offset) });
  const whole = { target: place.path('whole.tar'), manifest: place.path('whole.ndjson') };
  await packBundle({ ...options, ...changed, ...whole });
  expect(readFileSync(options.target).equals(readFileSync(whole.target))).toBe(true);
  expect(readFileSync(options.manifest, 'utf8')).toBe(readFileSync(whole.manifest, 'utf8'));
  return kept;
}

test.each(['within', 'end'] as const)(
  'a half that is what it was is gone on with from its mark (%s)',
  async (where) => {
    const half = await makeHalf(where);
    expect(half.mark.open?.path).toBe(where === 'within' ? 'b/large' : undefined);
    expect(await expectWhole(half)).toEqual([half.mark.offset]);
  },
);

/** With the same times after it, so that they do not tell; of the file in the middle also the time of the last change counts. */
test.each<[string, 'within' | 'end', (source: string) => void]>([
  ['a file has other rights', 'end', (source) => chmodSync(join(source, 'a/0000'), 0o600)],
  ['a file has more bytes', 'end', (source) => appendFileSync(join(source, 'a/0000'), 'more')],
  [
    'a folder is a file',
    'end',
    (source) => {
      rmdirSync(join(source, 'bare'));
      writeFileSync(join(source, 'bare'), 'of the same name', { mode: 0o755 });
    },
  ],
  [
    'a link leads elsewhere',
    'end',
    (source) => {
      rmSync(join(source, 'a/link'));
      symlinkSync('there', join(source, 'a/link'));
    },
  ],
  [
    'the file in its middle has other bytes',
    'within',
    (source) => writeFileSync(join(source, 'b/large'), randomBytes(700_000)),
  ],
  [
    'the file in its middle is gone, with all behind it',
    'within',
    (source) => execFileSync('rm', ['-r', join(source, 'b/large'), join(source, 'c'), join(source, 'd')]),
  ],
  [
    'the last files are gone',
    'end',
    (source) => execFileSync('rm', ['-r', join(source, 'c'), join(source, 'd')]),
  ],
])('where %s the bundle is that of the origin now', async (_, where, change) => {
  const half = await makeHalf(where);
  change(half.source);
  settleTimes(half.source);
  await expectWhole(half);
});

test('where a file has another time the bundle has that', async () => {
  const half = await makeHalf('end');
  execFileSync('touch', ['-d', '2020-01-01', join(half.source, 'a/0000')]);
  await expectWhole(half);
});

test.each<[string, (half: Half) => void]>([
  ['a half bundle with a flipped bit', ({ options }) => flip(options.target, 30_000)],
  [
    'a manifest with another digest', // It would call a good file damaged for ever.
    ({ options }) => {
      const text = readFileSync(options.manifest, 'utf8');
      const at = text.indexOf('"blake3":"') + 10;
      writeFileSync(
        options.manifest,
        text.slice(0, at) + (text[at] === '0' ? '1' : '0') + text.slice(at + 1),
      );
    },
  ],
  [
    'a manifest with a line that is none',
    ({ options }) => {
      const text = readFileSync(options.manifest, 'utf8');
      writeFileSync(options.manifest, text.replace('\n{"path', '\nzZpath'));
    },
  ],
  [
    'a manifest with an empty line',
    ({ options }) => {
      const [head = '', first = '', ...rest] = readFileSync(options.manifest, 'utf8').split('\n');
      writeFileSync(options.manifest, [head, 'null'.padEnd(first.length), ...rest].join('\n'));
    },
  ],
])('%s is not believed', async (_, damage) => {
  const half = await makeHalf('end');
  damage(half);
  await expectWhole(half);
});

test.each<Partial<PackOptions>>([{ pax_times: 'all' }, { digests: { member: ['md5'], bundle: ['blake3'] } }])(
  'with other settings (%o) it begins anew',
  async (changed) => {
    expect(await expectWhole(await makeHalf('within'), changed)).toEqual([]);
  },
);
