import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { openArchive } from '../../workers/archive/index.ts';
import { stagedBundleOf } from '../../workers/dataset/paths.ts';
import { flip } from '../support/archived.ts';
import { type Landing, makeLanding, writeTree } from './landing.ts';

const TASK = 'mark_archived_and_delete';
const files = {
  'a.txt': 'alpha',
  'sub/b.bin': Buffer.alloc(50_000, 7),
  'sub/empty': null,
  l: { link: 'a.txt' },
};

interface Marked {
  landing: Landing;
  bundle: string;
  /** What an operator names. */
  kwargs: Record<string, unknown>;
}

/** A dataset whose bundle another system has put into the archive; `top`: with a folder of its own around it. */
async function foreign({ top = false } = {}): Promise<Marked> {
  const landing = await makeLanding(files);
  const folder = landing.place.dir('data/archive/2019/old layout');
  const bundle = join(folder, 'run_A.tar');
  const args = top ? ['-C', dirname(landing.origin), 'run_A'] : ['-C', landing.origin, '.'];
  expect(spawnSync('tar', ['cf', bundle, ...args]).status).toBe(0);
  await openArchive(landing.place.config, 'filesystem').prepare(bundle);
  return { landing, bundle, kwargs: { archive_path: join(folder, '{name}.tar') } };
}

const keeps = async ({ landing }: Marked, kwargs: Record<string, unknown>, code: string, why: RegExp) => {
  const error = await landing.fails(TASK, { kwargs });
  expect(error.code).toBe(code);
  expect(error.message).toMatch(why);
  expect(readFileSync(join(landing.origin, 'sub/b.bin'))).toHaveLength(50_000);
  expect(await landing.dataset()).toMatchObject({ archive_path: null, bundle: null });
  expect(readdirSync(landing.place.dir('data/scratch'))).toEqual([]);
};

test('a bundle that is gone when the comparison is over keeps the origin', async () => {
  const { landing, bundle, kwargs } = await foreign();
  // Whoever reads it already reads it to its end.
  const onProgress = (): void => rmSync(bundle, { force: true });
  const error = await landing.fails(TASK, { kwargs, onProgress });
  expect(error.code).toBe('E_BUNDLE_MISSING');
  expect(existsSync(join(landing.origin, 'sub/b.bin'))).toBe(true);
});

test.each([false, true])(
  'a foreign bundle that equals the origin (top folder: %s) is recorded with its digests, and the origin goes',
  async (top) => {
    const { landing, bundle, kwargs } = await foreign({ top });
    const staged = stagedBundleOf(landing.place.config, await landing.dataset());
    mkdirSync(dirname(staged), { recursive: true });
    writeFileSync(staged, 'left over');
    await landing.run(TASK, { kwargs });
    const bytes = readFileSync(bundle);
    const md5 = createHash('md5').update(bytes).digest('hex');
    const dataset = await landing.dataset();
    expect(dataset).toMatchObject({
      archive_path: bundle,
      bundle: { name: 'run_A.tar', size: bytes.length, md5, verified_at: expect.stringMatching(/^20/) },
    });
    expect(await landing.store.catalog.copies(landing.id)).toMatchObject([
      { archive: 'filesystem', key: bundle, size: bytes.length, verified_how: 'stream' },
    ]);
    expect((await landing.states()).at(-1)).toBe('ARCHIVED');
    expect(readdirSync(dirname(landing.origin))).toEqual([]);
    expect(readdirSync(landing.place.path('data/scratch'))).toEqual([]);
    expect(existsSync(staged)).toBe(false);
    expect(landing.audit.map(({ action }) => action)).toEqual(['dataset.mark_archived_and_delete']);
    // What it recorded is enough to bring the dataset back.
    await landing.run('stage_dataset');
    const { staged_path } = await landing.dataset();
    expect(readFileSync(join(staged_path as string, 'sub/b.bin'))).toEqual(files['sub/b.bin']);
    await landing.run('validate_dataset');
    expect((await landing.states()).at(-1)).toBe('STAGED');
    // Counted as an inspection counts, which a folder around all of it does not change.
    const size = 'alpha'.length + 50_000 + 'a.txt'.length;
    expect(dataset).toMatchObject({ num_files: 3, num_directories: 2, size });
    // A retry after everything was done changes nothing.
    await landing.run(TASK, { kwargs, attempt: 2 });
    expect((await landing.dataset()).archive_path).toBe(bundle);
  },
);

test('without a path pattern, with one that names no dataset, or another archive nothing is guessed', async () => {
  const marked = await foreign();
  const { kwargs } = marked;
  for (const archive_path of [undefined, '', '/archive/2023/raw_data/run.tar', 7])
    await keeps(marked, { archive_path }, 'E_USAGE', /archive_path is/);
  await keeps(marked, { ...kwargs, archive: 'tape' }, 'E_USAGE', /archive is "tape"/);
  await keeps(marked, { ...kwargs, md5: 'abc' }, 'E_USAGE', /md5 is "abc"/);
});

test('a bundle that is missing, or is not the one that was stated, keeps everything', async () => {
  const marked = await foreign();
  const { kwargs, bundle } = marked;
  await keeps(marked, { archive_path: `${bundle}.{name}` }, 'E_BUNDLE_MISSING', /holds no bundle/);
  await keeps(marked, { ...kwargs, size: 5 }, 'E_NOT_ARCHIVED', /has \d+ bytes, expected 5/);
  await keeps(marked, { ...kwargs, md5: '0'.repeat(32) }, 'E_BUNDLE_CORRUPT', /md5/);
});

test.each<[string, (marked: Marked) => void]>([
  ['a file that the bundle lacks', ({ landing }) => writeFileSync(join(landing.origin, 'new'), 'x')],
  ['a file less', ({ landing }) => rmSync(join(landing.origin, 'a.txt'))],
  ['an empty folder more', ({ landing }) => mkdirSync(join(landing.origin, 'more'))],
  [
    'a link that leads elsewhere',
    ({ landing }) => {
      rmSync(join(landing.origin, 'l'));
      symlinkSync('sub', join(landing.origin, 'l'));
    },
  ],
  [
    'other bytes behind the same size and time',
    ({ landing }) => {
      const file = join(landing.origin, 'a.txt');
      writeFileSync(file, 'ALPHA');
      utimesSync(file, 1, 1);
    },
  ],
])('an origin with %s is kept, and not called archived', async (_, change) => {
  const marked = await foreign();
  change(marked);
  await keeps(marked, marked.kwargs, 'E_NOT_ARCHIVED', /differs from its bundle/);
});

test('one flipped bit in the bundle keeps the origin', async () => {
  const marked = await foreign();
  flip(marked.bundle, readFileSync(marked.bundle).indexOf(Buffer.alloc(100, 7)) + 50);
  await keeps(marked, marked.kwargs, 'E_NOT_ARCHIVED', /b.bin: has other bytes/);
});

test.each([
  ['when it was compared', 1],
  ['right before it is set aside', 2],
])('what changes %s is noticed before it goes, and put back', async (_, look) => {
  const { landing, kwargs } = await foreign();
  let looks = 0;
  const error = await landing.fails(TASK, {
    kwargs,
    lease: () => {
      looks += 1;
      if (looks === look) appendFileSync(join(landing.origin, 'a.txt'), '!');
    },
  });
  expect(error.message).toMatch(/was changed while it was compared/);
  expect(readFileSync(join(landing.origin, 'a.txt'), 'utf8')).toBe('alpha!');
});

test('a dataset that is archived elsewhere, an origin outside the sources, and a missing one are refused', async () => {
  const { landing, kwargs } = await foreign();
  const { catalog } = landing.store;
  await catalog.patch(landing.id, { archive_path: '/elsewhere/run_A.tar' });
  expect((await landing.fails(TASK, { kwargs })).message).toMatch(/archived already, as \/elsewhere/);
  await catalog.patch(landing.id, { archive_path: null });
  const outside = landing.place.path('outside');
  writeTree(outside, files);
  await catalog.patch(landing.id, { origin_path: outside });
  expect(await landing.fails(TASK, { kwargs })).toMatchObject({ code: 'E_NAME_UNSAFE' });
  expect(readdirSync(outside).length).toBe(3);
  expect(await landing.dataset()).toMatchObject({ archive_path: null, bundle: null });
  await catalog.patch(landing.id, { origin_path: `${landing.origin}_gone` });
  expect(await landing.fails(TASK, { kwargs })).toMatchObject({ code: 'E_ORIGIN_MISSING' });
  expect((await landing.dataset()).metadata.source_deleted_at).toBeUndefined();
});

test('keep_source only records; killed while it removed, the next attempt removes what is left', async () => {
  const { landing, kwargs } = await foreign();
  await landing.run(TASK, { kwargs: { ...kwargs, keep_source: true } });
  expect(existsSync(join(landing.origin, 'a.txt'))).toBe(true);
  const staged = stagedBundleOf(landing.place.config, await landing.dataset());
  mkdirSync(dirname(staged), { recursive: true });
  for (const is_staged of [true, false]) {
    await landing.store.catalog.patch(landing.id, { is_staged });
    writeFileSync(staged, 'downloaded by somebody');
    await landing.run(TASK, { kwargs: { ...kwargs, keep_source: true } });
    expect(existsSync(staged)).toBe(is_staged);
  }
  renameSync(landing.origin, join(dirname(landing.origin), '.run_A.partial-deleting'));
  await landing.run(TASK, { kwargs, attempt: 2 });
  expect(readdirSync(dirname(landing.origin))).toEqual([]);
});
