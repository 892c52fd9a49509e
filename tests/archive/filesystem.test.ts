import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { deleteBundle, openManifest } from '../../workers/archive/bundles.ts';
import { type Archive, type LocalArchive, manifestKey } from '../../workers/archive/contract.ts';
import { createFilesystemArchive } from '../../workers/archive/filesystem.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { makePlace, type Place } from '../support/place.ts';
import { until } from '../support/until.ts';
import { archiveBattery } from './battery.ts';

archiveBattery('filesystem', async (place) => ({
  place,
  open: () => openArchive(place.config, 'filesystem'),
  key: (name) => place.config.paths.RAW_DATA.archive.replace('{year}', '2026').concat(`/${name}`),
  takeAway: async () => {
    renameSync(place.path('data/archive'), place.path('data/unmounted'));
    mkdirSync(place.path('data/archive'));
  },
  bringBack: async () => {
    rmdirSync(place.path('data/archive'));
    renameSync(place.path('data/unmounted'), place.path('data/archive'));
  },
}));

async function archivePlace() {
  const place = await makePlace();
  const key = place.config.paths.RAW_DATA.archive.replace('{year}', '2026').concat('/run1.tar');
  const archive = openArchive(place.config, 'filesystem') as Archive & { local: LocalArchive };
  return { place, key, archive };
}

async function put(
  { key, archive }: Awaited<ReturnType<typeof archivePlace>>,
  text = 'bundle',
): Promise<void> {
  const started = await archive.local.beginPut(key, { task_id: 'task-0001' });
  writeFileSync(started.path, text);
  writeFileSync(started.manifestPath, `manifest of ${text}`);
  await started.commit();
}

const names = (place: Place): string[] =>
  execFileSync('find', [place.path('data/archive'), '-type', 'f', '-printf', '%f\n'], { encoding: 'utf8' })
    .trimEnd()
    .split('\n')
    .sort();

test('a bundle and its manifest can be put, found, opened and deleted', async () => {
  const at = await archivePlace();
  const { place, key, archive } = at;
  await put(at);
  expect((await archive.stat(key))?.size).toBe(6);
  expect(readFileSync(archive.local.path(key), 'utf8')).toBe('bundle');
  const manifest = await openManifest(archive, key, { scratch: place.path('scratch') });
  expect(readFileSync(manifest?.path ?? '', 'utf8')).toBe('manifest of bundle');
  expect(names(place)).toEqual(['.longshore-archive', 'run1.tar', 'run1.tar.manifest.ndjson']);
  expect(await deleteBundle(archive, key)).toBe(true);
  expect(await deleteBundle(archive, key)).toBe(false);
  expect(await archive.stat(key)).toBeNull();
  expect(names(place)).toEqual(['.longshore-archive']);
});

test('a put that is cut off in place of another bundle leaves no bundle under the manifest of the other', async () => {
  const at = await archivePlace();
  const { key, archive } = at;
  await put(at, 'old');
  const read = (path: string): string => readFileSync(path, 'utf8');
  const found = (): string[] => [read(archive.local.path(key)), read(archive.local.path(manifestKey(key)))];
  for (const [lost, left] of [
    ['path', ['old', 'manifest of old']],
    // The manifest is not that of the bundle, and of an older origin: all of it is made anew.
    ['manifestPath', ['new', 'manifest of old']],
  ] as const) {
    const started = await archive.local.beginPut(key, { task_id: 'task-0002' });
    writeFileSync(started.path, 'new');
    writeFileSync(started.manifestPath, 'manifest of new');
    rmSync(started[lost]);
    await expect(started.commit()).rejects.toMatchObject({ code: 'ENOENT' });
    expect(found(), lost).toEqual(left);
  }
  await put(at, 'new');
  expect(found()).toEqual(['new', 'manifest of new']);
});

test('a first put that is cut off leaves no bundle without its manifest', async () => {
  const { key, archive, place } = await archivePlace();
  const started = await archive.local.beginPut(key, { task_id: 'task-0001' });
  writeFileSync(started.manifestPath, 'manifest of one that is gone');
  await expect(started.commit()).rejects.toMatchObject({ code: 'ENOENT' });
  expect(names(place)).toEqual(['.longshore-archive', 'run1.tar.manifest.ndjson']);
});

test('a put that is stopped with its last byte is not visible', async () => {
  const { key, archive, place } = await archivePlace();
  const stop = new AbortController();
  const stream = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from('bundle');
  };
  const putting = archive.put(
    key,
    { stream: stream(), size: 6 },
    { task_id: 'task-0001', signal: stop.signal, onProgress: () => stop.abort(new Error('lost')) },
  );
  await expect(putting).rejects.toThrow('lost');
  expect(names(place)).toEqual(['.longshore-archive']);
});

test('nothing is visible before the commit, nothing is left after an abort', async () => {
  const { place, key, archive } = await archivePlace();
  const started = await archive.local.beginPut(key, { task_id: 'task-0001' });
  expect(statSync(dirname(started.path)).dev).toBe(statSync(dirname(key)).dev);
  writeFileSync(started.path, 'half');
  expect(await archive.stat(key)).toBeNull();
  await started.abort();
  await started.abort();
  expect(names(place)).toEqual(['.longshore-archive']);
});

test('a second put replaces the first one', async () => {
  const at = await archivePlace();
  await put(at);
  await put(at, 'second bundle');
  expect((await at.archive.stat(at.key))?.size).toBe(13);
  expect(names(at.place)).toHaveLength(3);
});

test('an archive that is not mounted takes no new bundle either', async () => {
  const at = await archivePlace();
  const { place, key, archive } = at;
  await put(at);
  renameSync(place.path('data/archive'), place.path('data/unmounted'));
  mkdirSync(place.path('data/archive'));
  await expect(archive.local.beginPut(key, { task_id: 'task-0002' })).rejects.toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    class: 'retryable',
  });
  expect(readdirSync(place.path('data/archive'))).toEqual([]);
});

test('roots with long names that begin alike are marked each for itself, and missed each for itself', async () => {
  const place = await makePlace();
  const state_dir = place.path('state');
  const rootOf = (name: string): string => place.path('a'.repeat(220), name);
  const prepare = (root: string): Promise<void> =>
    createFilesystemArchive({ roots: [root], state_dir }).prepare(join(root, 'run.tar'));
  for (const name of ['one', 'other']) {
    await prepare(rootOf(name));
    expect(existsSync(join(rootOf(name), '.longshore-archive'))).toBe(true);
  }
  // Before, one note was there for all of them; whose root it is stands in it.
  const known = rootOf('known');
  writeFileSync(join(state_dir, 'archives', encodeURIComponent(known).slice(0, 200)), `${known}\n`);
  mkdirSync(known);
  await expect(prepare(known)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
});

test("where the mark is a person's to make, an empty mount point is no new archive", async () => {
  const place = await makePlace();
  const root = place.dir('mount');
  const options = { root, roots: [root], state_dir: place.path('state'), mark: 'required' } as const;
  const archive = createFilesystemArchive(options);
  const file = place.path('file');
  writeFileSync(file, 'bundle');
  await expect(archive.put('2026/run1.tar', { file }, { task_id: 't' })).rejects.toMatchObject({
    code: 'E_ARCHIVE_UNAVAILABLE',
    hint: expect.stringContaining(`touch '${root}/.longshore-archive'`),
  });
  expect(readdirSync(root)).toEqual([]);
  writeFileSync(join(root, '.longshore-archive'), '');
  expect(await archive.put('2026/run1.tar', { file }, { task_id: 't' })).toMatchObject({ size: 6 });
  expect(existsSync(join(root, '2026/run1.tar'))).toBe(true);
});

test('a place whose name begins as that of an archive is no part of it', async () => {
  const at = await archivePlace();
  await put(at);
  const beside = at.place.path('data/archive-old/run1.tar');
  await expect(at.archive.prepare(beside)).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  expect(existsSync(dirname(beside))).toBe(false);
});

test('what a process left that was killed while it packed is given to the next attempt, and goes with it', async () => {
  const { place, key, archive } = await archivePlace();
  writeFileSync(join(place.dir('source'), 'data'), Buffer.alloc(300_000_000));
  const script = `
    const { openArchive } = await import(${JSON.stringify(new URL('../../workers/archive/index.ts', import.meta.url).href)});
    const { packBundle } = await import(${JSON.stringify(new URL('../../workers/content/pack/pack.ts', import.meta.url).href)});
    const { loadConfig } = await import(${JSON.stringify(new URL('../../config/index.ts', import.meta.url).href)});
    const { config } = await loadConfig();
    const [source, key] = process.argv.slice(1);
    const put = await openArchive(config, 'filesystem').local.beginPut(key, { task_id: 'dead0000' });
    await packBundle({ source, target: put.path, manifest: put.manifestPath, digests: { member: ['md5'], bundle: ['md5'] } });
    await put.commit();
  `;
  const args = ['--input-type=module', '-e', script, place.path('source'), key];
  const child = spawn(process.execPath, args, { stdio: 'inherit', env: { ...process.env, ...place.env } });
  const partial = join(dirname(key), '.run1.tar.partial-dead0000');
  await until(() => (statSync(partial, { throwIfNoEntry: false })?.size ?? 0) > 0, {
    what: 'the first bytes',
  });
  child.kill('SIGKILL');
  await once(child, 'close');
  expect(existsSync(key)).toBe(false);
  expect(existsSync(manifestKey(key))).toBe(false);
  expect(names(place).filter((name) => !name.startsWith('.'))).toEqual([]);
  const again = await archive.local.beginPut(key, { task_id: 'live0000' });
  expect(names(place)).toEqual([
    '.longshore-archive',
    '.run1.tar.manifest.ndjson.partial-live0000',
    '.run1.tar.partial-live0000',
  ]);
  await again.abort();
  expect(names(place)).toEqual(['.longshore-archive']);
});

test('a bundle that is recorded where no archive is configured any more is read while it is there, and else waited for: nothing is made in its place', async () => {
  const at = await archivePlace();
  await put(at);
  const { state_dir } = at.place.config;
  const elsewhere = createFilesystemArchive({ roots: [at.place.path('other')], state_dir });
  expect(await elsewhere.stat(at.key)).toMatchObject({ size: 'bundle'.length });
  // Its root still has the mark: the bundle is gone, and the archive is there.
  rmSync(at.key);
  expect(await elsewhere.stat(at.key)).toBeNull();
  const moved = at.place.path('moved');
  renameSync(at.place.path('data/archive'), moved);
  const outage = { code: 'E_ARCHIVE_UNAVAILABLE', hint: expect.stringContaining('docs/recovery.md') };
  await expect(elsewhere.stat(at.key)).rejects.toMatchObject(outage);
  await expect(elsewhere.prepare(at.key)).rejects.toMatchObject(outage);
  expect(existsSync(at.place.path('data/archive'))).toBe(false);
});
