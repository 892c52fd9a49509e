/** A quota is used up: the file system shows free space, and the write says EDQUOT, which Node has no name for. */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { reserveSpace } from '../../workers/content/space.ts';
import { coerceError } from '../../workers/errors.ts';
import { fullFile } from '../../workers/sqlite/failure.ts';
import { portrait } from '../content/trees.ts';
import { makeArchived } from '../support/archived.ts';
import { makePlace } from '../support/place.ts';
import { doctor, overrides } from '../support/doctor.ts';
import { NO_QUOTA, type Quota, quotaOn } from '../support/quota.ts';
import { runScript } from '../support/script.ts';
import { fastq } from '../tasks/fastq.ts';
import { type Landing, makeLanding } from '../tasks/landing.ts';

const litter = ({ place }: Landing): string[] =>
  spawnSync('find', [place.path('data'), '-name', '*.partial-*'], { encoding: 'utf8' })
    .stdout.split('\n')
    .filter(Boolean);

/** Takes all that the quota gives. */
function fill(folder: string): string {
  const file = join(folder, 'others');
  for (const bytes of [1_000_000, 4096]) {
    try {
      for (;;) writeFileSync(file, randomBytes(bytes), { flag: 'a' });
    } catch {
      // Full for pieces of that size.
    }
  }
  return file;
}

const failureOf = async (landing: Landing, task: string, attempt: number) =>
  coerceError(await landing.run(task, { attempt }).catch((error: unknown) => error));

test('what Node makes of EDQUOT is told as a quota, with its path and what helps', () => {
  for (const [code, words] of [
    ['UNKNOWN', 'UNKNOWN: unknown error, write'],
    ['Unknown system error -122', 'Unknown system error -122: Unknown system error -122, write'],
  ] as const) {
    const error = Object.assign(new Error(words), { errno: -122, code, syscall: 'write', path: '/data/x' });
    expect(coerceError(error)).toMatchObject({
      code: 'E_NO_SPACE',
      class: 'operator',
      message: "EDQUOT: disk quota exceeded, write '/data/x'",
      hint: expect.stringContaining('quota'),
      fields: { errno: 'EDQUOT', path: '/data/x' },
    });
  }
});

test.for([
  ['archive', 'archive_dataset'],
  ['staged', 'stage_dataset'],
  ['downloads', 'setup_dataset_download'],
] as const)(
  'a quota that ends under %s fails the step as a quota, loses nothing, and is got over',
  async ([where, task], context) => {
    const landing = await makeLanding({ big: randomBytes(20_000_000), small: 'y' });
    const folder = landing.place.dir('data', where);
    const quota = quotaOn(landing.place, folder, '8M');
    if (quota === null) return context.skip(NO_QUOTA);
    const steps = ['inspect_dataset', 'archive_dataset', 'stage_dataset', 'validate_dataset', task];
    for (const step of steps.slice(0, steps.indexOf(task))) await landing.run(step);
    if (where === 'downloads') fill(folder);
    const full = await failureOf(landing, task, 1);
    expect(full).toMatchObject({ code: 'E_NO_SPACE', class: 'operator' });
    expect(full.message).toContain('EDQUOT: disk quota exceeded');
    expect(full.message).toContain(folder);
    expect(full.hint).toContain('quota');
    expect(litter(landing)).toEqual([]);
    quota.limit('200M');
    await landing.run(task, { attempt: 2 });
    if (where === 'staged') await landing.run('validate_dataset');
    expect(litter(landing)).toEqual([]);
  },
);

test('a recall below a quota ends with E_NO_SPACE and leaves nothing', async (context) => {
  const at = await makeArchived((root) => {
    writeFileSync(join(root, 'big'), randomBytes(12_000_000));
    spawnSync('truncate', ['-s', '100M', join(root, 'holes')]);
    writeFileSync(join(root, 'holes'), randomBytes(9_000_000), { flag: 'r+' });
  });
  const folder = at.place.dir('out');
  const quota = quotaOn(at.place, folder, '8M');
  if (quota === null) return context.skip(NO_QUOTA);
  const recall = (...paths: string[]) =>
    runScript('longshore.ts', ['recall', 'run_A', ...paths, '--to', folder], at.place.env);
  for (const path of ['big', 'holes', '.']) {
    const full = await recall(path);
    expect(full).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_NO_SPACE: EDQUOT.*\/out/) });
    expect(full.stderr).toContain('quota -s');
    expect(readdirSync(folder)).toEqual([]);
  }
  quota.limit('200M');
  expect(await recall('.')).toMatchObject({ code: 0 });
  expect(portrait(folder).slice(1)).toEqual(portrait(at.source).slice(1)); // The folder itself keeps its time.
});

test('a bag below a quota ends with E_NO_SPACE and leaves nothing, also where cp makes it', async (context) => {
  const landing = await makeLanding({ big: randomBytes(5_000_000), holes: randomBytes(9_000_000) });
  spawnSync('truncate', ['-s', '100M', join(landing.origin, 'holes')]);
  await landing.upTo('validate_dataset');
  const folder = landing.place.dir('bags');
  const quota = quotaOn(landing.place, folder, '1M');
  if (quota === null) return context.skip(NO_QUOTA);
  const make = () => {
    const args = ['manifest', 'run_A', '--format', 'bagit', '--to', join(folder, 'bag')];
    return runScript('longshore.ts', args, landing.place.env);
  };
  for (const size of ['1M', '8M']) {
    quota.limit(size);
    const full = await make();
    expect(full).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_NO_SPACE: .*bags/) });
    expect(full.stderr).toMatch(/disk quota exceeded/i);
    expect(full.stderr).toContain('quota -s');
    expect(readdirSync(folder)).toEqual([]);
  }
  quota.limit('200M');
  expect(await make()).toMatchObject({ code: 0 });
});

test.skipIf(spawnSync('fastqc', ['--version']).error !== undefined)(
  'reports that find a quota used up fail QC as a quota, and QC is reached when there is room',
  async (context) => {
    const landing = await makeLanding({ 'S1.fastq.gz': fastq(200, 1), 'S2.fastq.gz': fastq(200, 2) });
    await landing.upTo('validate_dataset');
    const folder = landing.place.dir('data/qc');
    const quota = quotaOn(landing.place, folder, '400K');
    if (quota === null) return context.skip(NO_QUOTA);
    for (const [attempt, size] of ['300K', '1200K'].entries()) {
      quota.limit(size);
      const full = await failureOf(landing, 'generate_qc', attempt);
      expect(full).toMatchObject({ code: 'E_NO_SPACE', hint: expect.stringContaining('quota') });
      expect(full.message).toContain(folder);
      expect(full.message).toMatch(/disk quota exceeded/i);
      expect(readdirSync(join(folder, 'raw_data/run_A'))).toEqual([]);
    }
    quota.limit('200M');
    await landing.run('generate_qc', { attempt: 3 });
    expect(await landing.states()).toContain('QC');
  },
);

test('the doctor finds a quota that is used up, where the file system shows free space', async (context) => {
  const place = await makePlace();
  const folder = place.dir('data/staged');
  const quota = quotaOn(place, folder, '4M');
  if (quota === null) return context.skip(NO_QUOTA);
  const only = overrides(place, { paths: { RAW_DATA: { stage: folder } } });
  const look = async () => (await doctor(place, ['--only', 'paths'], only)).of('clock.files', folder);
  expect(await look()).toMatchObject({ level: 'ok' });
  fill(folder);
  expect(await look()).toMatchObject({
    level: 'problem',
    seen: expect.stringContaining('EDQUOT: disk quota exceeded'),
    remedy: expect.stringContaining('quota'),
  });
});

test('the doctor warns of a catalog on btrfs, where a full disk ends processes', async (context) => {
  const place = await makePlace();
  const folder = place.dir('catalog');
  if (quotaOn(place, folder, '8M') === null) return context.skip(NO_QUOTA);
  const there = overrides(place, { catalog: { path: join(folder, 'longshore.db') } });
  expect((await doctor(place, ['--only', 'paths'], there)).of('paths.catalog')).toMatchObject({
    level: 'warning',
    seen: expect.stringContaining('on btrfs'),
    remedy: expect.stringContaining('SIGBUS'),
  });
});

const bookAt = (folder: string) => ({ folder, bytes: 1, keep: 0, state_dir: folder, holder: 'task-0001' });

test('SQLite calls a quota an I/O error; here it is a quota, and any other I/O error is not', async (context) => {
  const place = await makePlace();
  const folder = place.dir('state');
  const failed = Object.assign(new Error('disk I/O error'), { errcode: 778 });
  const path = join(folder, 'longshore.db');
  expect(fullFile(failed, path, 'the file')).toBeNull();
  const quota: Quota | null = quotaOn(place, folder, '4M');
  if (quota === null) return context.skip(NO_QUOTA);
  expect(fullFile(failed, path, 'the file')).toBeNull();
  const others = fill(folder);
  expect(fullFile(failed, path, 'the file')).toMatchObject({
    code: 'E_NO_SPACE',
    message: 'the file cannot grow: disk I/O error (EDQUOT: disk quota exceeded)',
    hint: expect.stringContaining('quota'),
  });
  expect(() => reserveSpace(bookAt(folder))).toThrow(
    expect.objectContaining({
      code: 'E_NO_SPACE',
      message: expect.stringMatching(/reservations\.db cannot .*EDQUOT: disk quota exceeded/) as string,
    }),
  );
  quota.limit('64M');
  reserveSpace(bookAt(folder)).release();
  rmSync(others);
  expect(readdirSync(folder)).toEqual(['reservations.db']);
});
