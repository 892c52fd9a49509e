import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { fingerprint, type Landing, makeLanding } from './landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.txt': 'beta'.repeat(5000), 'sub/link': { link: 'b.txt' } };

/** Replaces the archived bundle by one that `tar` makes, as an older system would have. */
async function foreignBundle(landing: Landing, ...args: string[]): Promise<void> {
  const { archive_path } = await landing.dataset();
  rmSync(`${archive_path}.manifest.ndjson`, { force: true });
  rmSync(archive_path as string, { force: true });
  const made = spawnSync('tar', ['-P', '-cf', archive_path as string, ...args], { encoding: 'utf8' });
  expect(made.stderr).toBe('');
  const md5 = spawnSync('md5sum', [archive_path as string], { encoding: 'utf8' }).stdout.slice(0, 32);
  const size = statSync(archive_path as string).size;
  const bundle = { name: 'run_A.tar', size, md5, digests: {}, verified_at: null };
  await landing.store.catalog.patch(landing.id, { bundle });
}

const flip = (path: string, at: number): void => {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] as number) ^ 1;
  writeFileSync(path, bytes);
};

test('a flipped byte in the bundle is found; the old staged tree stays as it is, nothing is left over', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('validate_dataset');
  const { archive_path, staged_path } = await landing.dataset();
  const before = fingerprint(staged_path as string);
  flip(archive_path as string, 6000);
  const error = await landing.fails('stage_dataset', { task_id: 'task-0002' });
  expect(error).toMatchObject({ code: 'E_BUNDLE_CORRUPT', class: 'operator' });
  expect(fingerprint(staged_path as string)).toBe(before);
  expect(readdirSync(dirname(staged_path as string))).toEqual(['run_A']);
  expect(readdirSync(landing.place.path('data/bundle/raw_data/staging'))).toEqual(['run_A.RAW_DATA.tar']);
});

test('a bundle that is cut short, and one that is gone, are told apart', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  const { archive_path } = await landing.dataset();
  truncateSync(archive_path as string, 1024);
  expect(await landing.fails('stage_dataset')).toMatchObject({ code: 'E_BUNDLE_CORRUPT' });
  rmSync(archive_path as string);
  expect(await landing.fails('stage_dataset')).toMatchObject({ code: 'E_BUNDLE_MISSING' });
});

test('an archive that is not mounted is an outage, not a missing bundle', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  rmSync(landing.place.path('data/archive'), { recursive: true });
  expect(await landing.fails('stage_dataset')).toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    class: 'retryable',
  });
});

test('a stage folder that is not mounted is waited for, and nothing is written into its mount point', async ({
  skip,
}) => {
  const landing = await makeLanding(files);
  const disk = landing.place.dir('data/staged');
  if (smallFileSystem(disk, ['size=16m']) === null)
    return skip('NOT TESTED: needs root, to mount a file system');
  const stage = join(disk, 'raw_data');
  await landing.upTo('stage_dataset');
  const again = { workflow_id: 'workflow-2', task_id: 'task-0002' };
  spawnSync('umount', [disk]);
  expect(await landing.run('stage_dataset', again)).toMatchObject({
    postpone: {
      reason: expect.stringContaining(`${stage} was on the file system at ${disk}, which is not mounted`),
      progress: { waits: expect.stringContaining('Mount it'), code: 'E_STAGE_AWAY' },
    },
  });
  expect(readdirSync(disk)).toEqual([]);
  smallFileSystem(disk, ['size=16m']);
  expect(await landing.run('stage_dataset', again)).toEqual([landing.id]);
  expect(readdirSync(stage)).toHaveLength(1);
});

test('why a staging failed is told, also where what it left cannot be removed', async ({ skip }) => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  // Where a file system is mounted nothing can be removed.
  let stays: string | null = null;
  const lease = (): void => {
    const looked = ['find', landing.place.path('data/staged'), '-type', 'd', '-name', 'sub'] as const;
    const [made = ''] = spawnSync(looked[0], looked.slice(1), { encoding: 'utf8' }).stdout.split('\n');
    stays = smallFileSystem(made, ['size=1m']);
    throw new LongshoreError('E_REVOKED', 'stopped by a person');
  };
  const failure = await landing.fails('stage_dataset', { lease });
  if (stays === null) return skip('NOT TESTED: needs root, to mount a file system');
  expect(existsSync(stays)).toBe(true);
  expect(failure.code).toBe('E_REVOKED');
});

test('a stage folder that somebody has removed with all that was in it is made anew', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('stage_dataset');
  const again = { workflow_id: 'workflow-2', task_id: 'task-0002' };
  const stage = landing.place.path('data/staged/raw_data');
  rmSync(stage, { recursive: true });
  expect(await landing.run('stage_dataset', again)).toEqual([landing.id]);
  expect(readdirSync(stage)).toHaveLength(1);
});

test('staging again replaces the tree and the bundle and says FETCHED again in another workflow only', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('stage_dataset');
  const { staged_path } = await landing.dataset();
  writeFileSync(join(staged_path as string, 'extra'), 'x');
  await landing.run('stage_dataset', { attempt: 2 });
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  expect((await landing.states()).filter((state) => state === 'FETCHED')).toHaveLength(1);
  await landing.run('stage_dataset', { workflow_id: 'workflow-2', task_id: 'task-0002' });
  expect((await landing.states()).filter((state) => state === 'FETCHED')).toHaveLength(2);
});

test('what a dead attempt left is removed', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('stage_dataset');
  const alias = dirname((await landing.dataset()).staged_path as string);
  landing.place.dir(`${alias.slice(landing.place.folder.length + 1)}/.run_A.partial-deadbeef/sub`);
  writeFileSync(landing.place.path('data/bundle/raw_data/staging/.run_A.RAW_DATA.tar.partial-deadbeef'), 'x');
  await landing.run('stage_dataset', { attempt: 2 });
  expect(readdirSync(alias)).toEqual(['run_A']);
  expect(readdirSync(landing.place.path('data/bundle/raw_data/staging'))).toEqual(['run_A.RAW_DATA.tar']);
});

test('the bundle is only marked verified once it was read back', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  expect((await landing.dataset()).bundle?.verified_at).toBeNull();
  await landing.run('stage_dataset');
  const { verified_at } = (await landing.dataset()).bundle ?? {};
  expect(Date.parse(verified_at ?? '')).toBeGreaterThan(Date.now() - 60_000);
});

test('the staged bundle is not kept when the configuration says so', async () => {
  const landing = await makeLanding(files, { config: { stage: { keep_bundle: false } } });
  await landing.upTo('setup_dataset_download');
  expect(readdirSync(landing.place.path('data/bundle/raw_data/staging'))).toEqual([]);
  const { metadata } = await landing.dataset();
  expect(readdirSync(landing.place.path('data/downloads'))).toEqual([metadata.stage_alias]);
});

test('a legacy bundle with a top folder, and one without, land at the same path', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  for (const args of [
    ['-C', dirname(landing.origin), 'run_A'],
    ['-C', landing.origin, 'a.txt', 'sub'],
  ]) {
    await foreignBundle(landing, ...args);
    await landing.run('stage_dataset', { task_id: `task-${args.length}` });
    const { staged_path } = await landing.dataset();
    expect(readdirSync(staged_path as string)).toEqual(['a.txt', 'sub']);
    expect(readFileSync(join(staged_path as string, 'sub/b.txt'), 'utf8')).toBe(files['sub/b.txt']);
  }
  expect(await landing.run('validate_dataset')).toEqual([landing.id, []]);
});

test('a legacy bundle of which nobody knows a digest is staged, and not called proven', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  await foreignBundle(landing, '-C', landing.origin, 'a.txt', 'sub');
  const { catalog } = landing.store;
  const { bundle } = await landing.dataset();
  if (!bundle) throw new Error('no bundle is recorded');
  await catalog.patch(landing.id, { bundle: { ...bundle, md5: null } });
  await catalog.removeCopy(landing.id, 'filesystem');
  await landing.run('stage_dataset');
  const staged = await landing.dataset();
  expect(fingerprint(staged.staged_path as string)).toBe(fingerprint(landing.origin));
  expect(staged.bundle).toMatchObject({ verified_at: null });
  expect(await catalog.proofs({ dataset_id: landing.id, limit: 10 })).toEqual([]);
});

test.each([
  ['a path that climbs out', (landing: Landing) => ['-C', join(landing.origin, 'sub'), '../a.txt']],
  ['an absolute path', (landing: Landing) => [join(landing.origin, 'a.txt')]],
  ['a link that leads out', (landing: Landing) => ['-C', landing.place.dir('evil'), 'out']],
])('an evil bundle with %s is refused, and nothing of it is published', async (_, args) => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  spawnSync('ln', ['-s', '/etc', join(landing.place.dir('evil'), 'out')]);
  await foreignBundle(landing, ...args(landing));
  expect(await landing.fails('stage_dataset')).toMatchObject({ code: 'E_BUNDLE_UNSAFE', class: 'fatal' });
  const { staged_path } = await landing.dataset();
  expect(staged_path).toBeNull();
  expect(spawnSync('find', [landing.place.path('data/staged'), '-mindepth', '3']).stdout.toString()).toBe('');
});

test('too little space is refused before the tree is touched', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('validate_dataset');
  const { staged_path } = await landing.dataset();
  await landing.store.catalog.patch(landing.id, { num_files: 2 ** 42 });
  expect(await landing.fails('stage_dataset')).toMatchObject({ code: 'E_NO_SPACE' });
  expect(existsSync(staged_path as string)).toBe(true);
  expect(readdirSync(dirname(staged_path as string))).toEqual(['run_A']);
});

test('a dataset that was never archived is refused', async () => {
  const landing = await makeLanding(files);
  expect(await landing.fails('stage_dataset')).toMatchObject({ code: 'E_NOT_ARCHIVED' });
});

test('while another task works on the staged copy it waits its turn; what that one has brought it does not bring again', async () => {
  const landing = await makeLanding({ a: 'alpha' });
  await landing.upTo('archive_dataset');
  const date_start = new Date(0).toISOString();
  const late = { workflow_id: 'workflow-2', task_id: 'task-0002', date_start };
  expect(await landing.run('stage_dataset', { ...late, permit: () => false })).toMatchObject({
    postpone: { reason: 'waits for another task that works on the copies of this dataset' },
  });
  expect((await landing.dataset()).staged_path).toBeNull();
  await landing.run('stage_dataset');
  const { staged_path } = await landing.dataset();
  const { ino } = statSync(staged_path as string);
  expect(await landing.run('stage_dataset', late)).toEqual([landing.id]);
  expect(statSync(staged_path as string).ino).toBe(ino);
  // One that is asked for afterwards does bring it again.
  await landing.run('stage_dataset', { workflow_id: 'workflow-3', task_id: 'task-0003' });
  expect(statSync(staged_path as string).ino).not.toBe(ino);
});

test('what a failed attempt has staged is kept while it is to be tried again, and goes with the last one', async () => {
  const landing = await makeLanding({ 'a/big': randomBytes(3_000_000), b: 'b' });
  await landing.upTo('archive_dataset');
  const away = new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'the network went away');
  const lease = (): never => {
    throw away;
  };
  const left = (): string[] =>
    readdirSync(landing.place.path('data'), { recursive: true, encoding: 'utf8' }).filter((path) =>
      basename(path).includes('.partial-'),
    );
  const copy = (): string | undefined => left().find((path) => basename(path).includes('.tar.partial-'));
  await landing.fails('stage_dataset', { lease, retries_left: 1 });
  const half = copy();
  expect(half).toBeDefined();
  const { ino } = statSync(landing.place.path('data', half as string));
  await landing.fails('stage_dataset', { lease, attempt: 2, retries_left: 1 });
  expect(statSync(landing.place.path('data', half as string)).ino).toBe(ino);
  await landing.fails('stage_dataset', { lease, attempt: 3, retries_left: 0 });
  expect(left()).toEqual([]);
  await landing.run('stage_dataset', { attempt: 4 });
  await landing.run('validate_dataset');
  expect(left()).toEqual([]);
});
