import { spawnSync } from 'node:child_process';
import {
  existsSync,
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
import { manifestKey } from '../../workers/archive/contract.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { killedOnceRecorded, type Landing, makeLanding, unmount } from './landing.ts';
import { found } from './two-archives.ts';

const files = { 'a.txt': 'alpha', 'sub/b.txt': 'beta' };

async function verified(): Promise<Landing> {
  const landing = await makeLanding(files);
  await landing.upTo('validate_dataset');
  return landing;
}

const refuses = async (landing: Landing, why: RegExp): Promise<void> => {
  const error = await landing.fails('delete_source', { task_id: 'delete-1' });
  expect(error.code).toBe('E_NOT_ARCHIVED');
  expect(error.message).toMatch(why);
  expect(existsSync(landing.origin)).toBe(true);
  expect(landing.audit).toEqual([]);
};

test('what is learnt of the archive while the origin is compared keeps it: that it went away, or a finding', async () => {
  const landing = await verified();
  const { archive_path: key } = await landing.dataset();
  let mount: (() => void) | null = null;
  const onProgress = (): void => {
    mount ??= unmount(landing.place.path('data/archive'));
  };
  expect((await landing.fails('delete_source', { onProgress })).code).toBe('E_ARCHIVE_UNAVAILABLE');
  expect(existsSync(landing.origin)).toBe(true);
  (mount as (() => void) | null)?.();
  let finding: Promise<void> | null = null;
  const scrub = (): void => {
    finding ??= found(landing, 'filesystem', { key: key as string });
  };
  await expect(landing.run('delete_source', { onProgress: scrub })).rejects.toMatchObject({
    code: 'E_NOT_ARCHIVED',
    message: expect.stringContaining('was found not what was archived'),
  });
  expect(existsSync(landing.origin)).toBe(true);
});

test('an archived, verified, unchanged origin is removed without a trace, and the audit says so', async () => {
  const landing = await verified();
  await landing.run('delete_source');
  expect(readdirSync(dirname(landing.origin))).toEqual([]);
  expect(landing.audit).toEqual([
    { action: 'dataset.delete_source', details: { dataset_id: landing.id, origin_path: landing.origin } },
  ]);
  expect((await landing.dataset()).metadata.source_deleted_at).toMatch(/^\d{4}-/);
  await landing.run('delete_source', { attempt: 2 });
});

test('a dataset that is not archived keeps its origin', async () => {
  await refuses(await makeLanding(files), /no archived bundle/);
});

test('a bundle that was never read back keeps the origin', async () => {
  const landing = await makeLanding(files);
  await landing.upTo('archive_dataset');
  await refuses(landing, /never been read back/);
});

test('a bundle that is gone from the archive, or has another size, keeps the origin', async () => {
  const landing = await verified();
  const bundle = (await landing.dataset()).archive_path as string;
  writeFileSync(bundle, 'short', { flag: 'a' });
  await refuses(landing, /are recorded/);
  rmSync(bundle);
  await refuses(landing, /the archive has no bundle/);
});

/** As a program does that edits a file in place and sets its time back. */
function forge(origin: string): void {
  const file = join(origin, 'a.txt');
  spawnSync('cp', ['-p', file, `${origin}.kept`]);
  writeFileSync(file, 'ALPHA');
  spawnSync('touch', ['-r', `${origin}.kept`, file]);
  rmSync(`${origin}.kept`);
}

test.each<[string, (origin: string) => void]>([
  ['a new file', (origin) => writeFileSync(join(origin, 'new'), 'x')],
  ['a missing file', (origin) => rmSync(join(origin, 'a.txt'))],
  ['other bytes of the same size', (origin) => writeFileSync(join(origin, 'a.txt'), 'ALPHA')],
  ['another time', (origin) => utimesSync(join(origin, 'sub/b.txt'), 1, 1)],
  ['other bytes behind the same size and time', forge],
])('an origin with %s since it was archived is kept', async (_, change) => {
  const landing = await verified();
  change(landing.origin);
  await refuses(landing, /has changed since it was archived/);
});

test('a new archive after the change has to be read back before the origin may go', async () => {
  const landing = await verified();
  writeFileSync(join(landing.origin, 'new'), 'x');
  await landing.run('inspect_dataset', { attempt: 2 });
  await landing.run('archive_dataset', { attempt: 2 });
  await refuses(landing, /never been read back/);
  await landing.run('stage_dataset', { attempt: 2 });
  await landing.run('delete_source');
  expect(existsSync(landing.origin)).toBe(false);
});

test('an origin outside the folders that datasets come from is kept, also behind a link', async () => {
  const landing = await verified();
  const elsewhere = landing.place.path('elsewhere');
  renameSync(landing.origin, elsewhere);
  symlinkSync(elsewhere, landing.origin);
  const { catalog } = landing.store;
  for (const origin_path of [elsewhere, landing.origin, landing.place.path('data/source/raw_data'), '/']) {
    await catalog.patch(landing.id, { origin_path });
    expect(await landing.fails('delete_source')).toMatchObject({ code: 'E_NAME_UNSAFE' });
  }
  expect(readdirSync(elsewhere)).toEqual(['a.txt', 'sub']);
});

const beside = (landing: Landing, phase: string): string =>
  join(dirname(landing.origin), `.run_A.partial-${phase}`);

test('an origin whose source is not there is not recorded as deleted', async () => {
  const landing = await verified();
  const source = dirname(landing.origin);
  renameSync(source, `${source}.away`);
  const error = await landing.fails('delete_source', { task_id: 'delete-1' });
  expect(error).toMatchObject({ code: 'E_ORIGIN_MISSING', fields: { path: source } });
  expect((await landing.dataset()).metadata.source_deleted_at).toBeUndefined();
  renameSync(`${source}.away`, source);
  await landing.run('delete_source', { task_id: 'delete-1', attempt: 2 });
  expect(existsSync(landing.origin)).toBe(false);
});

test('an origin whose source is an empty mount point is not recorded as deleted', async () => {
  const landing = await verified();
  const source = dirname(landing.origin);
  const mount = unmount(source);
  const error = await landing.fails('delete_source', { task_id: 'delete-1' });
  expect(error).toMatchObject({ code: 'E_ORIGIN_MISSING', fields: { path: source } });
  expect(error.hint).toContain(`touch '${source}/.longshore-mounted'`);
  expect((await landing.dataset()).metadata.source_deleted_at).toBeUndefined();
  expect(landing.audit).toEqual([]);
  mount();
  await landing.run('delete_source', { task_id: 'delete-1', attempt: 2 });
  expect(existsSync(landing.origin)).toBe(false);
});

test('an origin that somebody else deleted is recorded as gone where its source shows that it is there', async () => {
  const landing = await verified();
  rmSync(landing.origin, { recursive: true });
  expect(await landing.fails('delete_source')).toMatchObject({ code: 'E_ORIGIN_MISSING' });
  writeFileSync(join(dirname(landing.origin), '.longshore-mounted'), '');
  await landing.run('delete_source', { attempt: 2 });
  expect((await landing.dataset()).metadata.source_deleted_at).toMatch(/^\d{4}-/);
});

test('killed after it removed the only folder of a source, the next attempt has nothing to ask', async () => {
  const landing = await verified();
  await killedOnceRecorded(landing, 'delete_source');
  const recorded = (await landing.dataset()).metadata.source_deleted_at;
  expect(recorded).toMatch(/^\d{4}-/);
  rmSync(beside(landing, 'deleting'), { recursive: true });
  await landing.run('delete_source', { attempt: 2 });
  expect((await landing.dataset()).metadata.source_deleted_at).toBe(recorded);
});

test('killed while it removed, the next attempt removes what is left', async () => {
  const landing = await verified();
  renameSync(landing.origin, beside(landing, 'deleting'));
  rmSync(join(beside(landing, 'deleting'), 'a.txt'));
  await landing.run('delete_source', { attempt: 2 });
  expect(readdirSync(dirname(landing.origin))).toEqual([]);
});

test('killed while it compared, the next attempt puts the origin back and looks again', async () => {
  const landing = await verified();
  renameSync(landing.origin, beside(landing, 'checking'));
  writeFileSync(join(beside(landing, 'checking'), 'late.txt'), 'x');
  await refuses(landing, /has changed since it was archived/);
  expect(readdirSync(landing.origin)).toEqual(['a.txt', 'late.txt', 'sub']);
  rmSync(join(landing.origin, 'late.txt'));
  await landing.run('delete_source', { attempt: 2 });
  expect(readdirSync(dirname(landing.origin))).toEqual([]);
});

test('another folder in the place of one that was set aside is not touched, nor is that one', async () => {
  const landing = await verified();
  renameSync(landing.origin, beside(landing, 'checking'));
  landing.place.dir('data/source/raw_data/run_A');
  await refuses(landing, /another folder has taken its place/);
  expect(readdirSync(beside(landing, 'checking'))).toEqual(['a.txt', 'sub']);
});

test('a file that comes after the comparison, at the last moment before the removal, is not lost', async () => {
  const landing = await verified();
  const late = join(landing.origin, 'late.txt');
  const error = await landing.fails('delete_source', { lease: () => writeFileSync(late, 'precious') });
  expect(error.message).toMatch(/late\.txt/);
  expect(readFileSync(late, 'utf8')).toBe('precious');
  expect(readdirSync(dirname(landing.origin))).toEqual(['run_A']);
});

test.each([
  ['before it sets the origin aside', 0],
  ['when it has set it aside', 1],
])('a worker that loses its job %s removes nothing', async (_, lost) => {
  const landing = await verified();
  const run = landing.run('delete_source', {
    lease: (assertion) => {
      if (assertion === lost) throw new Error('lost');
    },
  });
  await expect(run).rejects.toThrow('lost');
  expect(readdirSync(dirname(landing.origin))).toEqual(['run_A']);
  expect(landing.audit).toEqual([]);
  expect((await landing.dataset()).metadata.source_deleted_at).toBeUndefined();
});

test('a manifest that equals the origin keeps it where the bundle is another one', async () => {
  const landing = await verified();
  const { archive_path } = await landing.dataset();
  const packOrigin = () =>
    packBundle({
      source: landing.origin,
      target: landing.place.path('bundle'),
      manifest: manifestKey(archive_path ?? ''),
      digests: { member: ['blake3'], bundle: ['blake3'] },
    });
  // As by a kill between the two, when what the origin holds now was to take the place of the bundle.
  writeFileSync(join(landing.origin, 'a.txt'), 'ALPHA');
  await packOrigin();
  await refuses(landing, /manifest is of another bundle/);
  // Its size tells where both have no digest of one kind.
  const { bundle } = await landing.dataset();
  if (bundle == null) throw new Error('no bundle');
  const digests = { md5: 'f'.repeat(32) };
  await landing.store.catalog.patch(landing.id, { bundle: { ...bundle, digests } });
  writeFileSync(join(landing.origin, 'c.txt'), 'gamma');
  await packOrigin();
  await refuses(landing, /manifest is of another bundle/);
});
