/** What a copy that was found damaged or missing stops, and how it is written anew. */
import { existsSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openFinding, type Proof } from '../../workers/dataset/types.ts';
import { flip } from '../support/archived.ts';
import { fingerprint, type Landing, makeLanding, unmount } from './landing.ts';
import { files, found as foundAt, two } from './two-archives.ts';

const IN_DATA = 5000;

type Ground = Landing & { paths: (archive: string) => string };

async function landed(config: Record<string, unknown> = {}, upTo = 'validate_dataset'): Promise<Ground> {
  const landing = await makeLanding(files, { config });
  await landing.upTo(upTo);
  const key = (await landing.dataset()).archive_path as string;
  const paths = (archive: string): string =>
    archive === 'filesystem' ? key : join(landing.place.path(archive), key);
  return { ...landing, paths };
}

const found = (landing: Ground, archive: string, given: Partial<Proof> = {}): Promise<void> =>
  foundAt(landing, archive, { key: landing.paths('filesystem'), ...given });

const open = async ({ store, id }: Landing): Promise<string[]> =>
  (await store.catalog.copies(id)).filter((copy) => openFinding(copy) !== null).map(({ archive }) => archive);

describe('the last good bytes stay', () => {
  test.each(['mismatch', 'missing'] as const)(
    'neither origin nor staged copy goes while the only copy was found %s, though it has its size',
    async (result) => {
      const landing = await landed();
      const { staged_path } = await landing.dataset();
      await found(landing, 'filesystem', { result });
      const origin = await landing.fails('delete_source');
      expect(origin).toMatchObject({ code: 'E_NOT_ARCHIVED', message: expect.stringContaining('was found') });
      const staged = await landing.fails('purge_dataset');
      expect(staged).toMatchObject({ code: 'E_FIXITY', fields: { archive: 'filesystem', result } });
      expect(existsSync(landing.origin) && existsSync(staged_path as string)).toBe(true);
      // An object of the right size takes nothing back; a proof does.
      await found(landing, 'filesystem', { result: 'ok', level: 'size' });
      expect((await landing.fails('purge_dataset')).code).toBe('E_FIXITY');
      await found(landing, 'filesystem', { result: 'ok' });
      await landing.run('purge_dataset');
      await landing.run('delete_source');
    },
  );

  test('of two copies a sound one lets the staged copy go, and not the origin', async () => {
    const landing = await landed(two);
    await found(landing, 'mirror');
    expect((await landing.fails('delete_source')).message).toContain('not what was archived');
    await landing.run('purge_dataset');
    expect(existsSync(landing.origin)).toBe(true);
  });

  test('a staging that meets damage is such a finding', async () => {
    const landing = await landed();
    flip(landing.paths('filesystem'), IN_DATA);
    const again = { workflow_id: 'workflow-2', task_id: 'task-0002' };
    expect((await landing.fails('stage_dataset', again)).code).toBe('E_BUNDLE_CORRUPT');
    expect(await open(landing)).toEqual(['filesystem']);
    expect((await landing.fails('delete_source')).code).toBe('E_NOT_ARCHIVED');
    expect((await landing.fails('purge_dataset')).code).toBe('E_FIXITY');
  });
});

describe('archiving again', () => {
  test('the only copy is written anew from the origin, read back, and told in the history', async () => {
    const landing = await landed();
    const bundle = landing.paths('filesystem');
    const good = readFileSync(bundle);
    flip(bundle, IN_DATA);
    await found(landing, 'filesystem');
    await landing.run('archive_dataset', { attempt: 2 });
    expect(readFileSync(bundle).equals(good)).toBe(true);
    expect(await open(landing)).toEqual([]);
    expect(landing.audit).toEqual([
      {
        action: 'archive.replaced',
        details: expect.objectContaining({ archive: 'filesystem', key: bundle, found: 'mismatch' }),
      },
    ]);
    await landing.run('purge_dataset');
    await landing.run('delete_source');
  });

  test('of two copies the damaged one is written from the sound one, which stays as it is', async () => {
    const landing = await landed(two);
    const before = statSync(landing.paths('filesystem'));
    flip(landing.paths('mirror'), IN_DATA);
    await found(landing, 'mirror');
    await landing.run('archive_dataset', { attempt: 2 });
    expect(statSync(landing.paths('filesystem')).ino).toBe(before.ino);
    expect(readFileSync(landing.paths('mirror')).equals(readFileSync(landing.paths('filesystem')))).toBe(
      true,
    );
    expect(await open(landing)).toEqual([]);
    await landing.run('delete_source');
  });

  test('a lost copy is not made from one that turns out damaged: both come from the origin', async () => {
    const landing = await landed(two);
    const good = readFileSync(landing.paths('filesystem'));
    flip(landing.paths('mirror'), IN_DATA); // Nobody knows yet.
    rmSync(landing.paths('filesystem'));
    await landing.run('archive_dataset', { attempt: 2 });
    for (const archive of ['filesystem', 'mirror'])
      expect(readFileSync(landing.paths(archive)).equals(good)).toBe(true);
    const ledger = await landing.store.catalog.proofs({ dataset_id: landing.id, limit: 4 });
    expect(ledger.map(({ archive, result, actor }) => `${archive} ${result} ${actor}`)).toEqual([
      'mirror ok archive',
      'filesystem ok archive',
      'mirror mismatch archive',
      'filesystem ok stage',
    ]);
    expect(await open(landing)).toEqual([]);
    expect(landing.audit).toMatchObject([
      { action: 'archive.replaced', details: { archive: 'mirror', found: 'mismatch' } },
    ]);
  });

  test('a copy whose archive goes away while it is proven is no damaged one: neither it nor another is made', async () => {
    const landing = await landed(two);
    const before = statSync(landing.paths('filesystem'));
    rmSync(landing.paths('mirror'));
    let bringBack = (): void => undefined;
    landing.progress.push = (at) => {
      if (at?.name === 'verify in filesystem') bringBack = unmount(landing.place.path('data/archive'));
      return 1;
    };
    const { catalog } = landing.store;
    const addProof = catalog.addProof.bind(catalog);
    catalog.addProof = (proof) => {
      bringBack();
      return addProof(proof);
    };
    const error = await landing.fails('archive_dataset', { attempt: 2 });
    expect(error.code).toBe('E_ARCHIVE_UNAVAILABLE');
    expect(statSync(landing.paths('filesystem')).ino).toBe(before.ino);
    expect(existsSync(landing.paths('mirror'))).toBe(false);
  });

  test('a sound copy makes the lost one, and the one that turned out damaged before it was tried', async () => {
    const { types, backends } = two.archive;
    const names = [...types.RAW_DATA, 'third'];
    const third = { kind: 'filesystem', root: '{home}/third' };
    const landing = await landed({
      archive: { types: { RAW_DATA: names }, backends: { ...backends, third } },
    });
    const good = readFileSync(landing.paths('filesystem'));
    flip(landing.paths('filesystem'), IN_DATA); // Nobody knows yet.
    rmSync(landing.paths('third'));
    await landing.run('archive_dataset', { attempt: 2 });
    for (const archive of names) expect(readFileSync(landing.paths(archive)).equals(good)).toBe(true);
    expect(await open(landing)).toEqual([]);
  });

  test('what it has written is dated by its own proof, not by that of the bytes before', async () => {
    const landing = await landed(two);
    const [before] = await landing.store.catalog.copies(landing.id);
    truncateSync(landing.paths('filesystem'), 100);
    await landing.run('archive_dataset', { attempt: 2 });
    const [after] = await landing.store.catalog.copies(landing.id);
    expect(after).toMatchObject({ archive: 'filesystem', verified_how: 'stream' });
    expect((after?.verified_at ?? '') > (before?.verified_at ?? '')).toBe(true);
    expect((after?.stored_at ?? '') > (before?.stored_at ?? '')).toBe(true);
    // A single copy was not read back: it has to be, before anything may go.
    const alone = await landed();
    truncateSync(alone.paths('filesystem'), 100);
    await alone.run('archive_dataset', { attempt: 2 });
    expect((await alone.dataset()).bundle?.verified_at).toBeNull();
    expect((await alone.store.catalog.copies(alone.id))[0]?.verified_at).toBeNull();
    expect((await alone.fails('purge_dataset')).code).toBe('E_NOT_ARCHIVED');
  });

  test('a copy in another archive is not dated by the proof of one that was found damaged since', async () => {
    const landing = await landed({ archive: { backends: two.archive.backends } });
    await found(landing, 'filesystem');
    const { config } = landing.place;
    Object.assign(landing.place, {
      config: { ...config, archive: { ...config.archive, types: { RAW_DATA: ['mirror'] } } },
    });
    await landing.run('archive_dataset', { attempt: 2 });
    expect((await landing.dataset()).bundle?.verified_at).toBeNull();
  });

  test('a copy is made again when the origin is gone; without a sound one nothing is touched', async () => {
    const landing = await landed(two);
    await landing.run('delete_source');
    const bundle = landing.paths('filesystem');
    const good = readFileSync(bundle);
    rmSync(bundle);
    await landing.run('archive_dataset', { attempt: 2 });
    expect(readFileSync(bundle).equals(good)).toBe(true);
    expect(await open(landing)).toEqual([]);
    // Both are damaged now: there is nothing to write them from.
    for (const archive of ['filesystem', 'mirror']) flip(landing.paths(archive), IN_DATA);
    rmSync(`${bundle}.manifest.ndjson`);
    const bad = readFileSync(bundle);
    expect((await landing.fails('archive_dataset', { attempt: 3 })).code).toBe('E_ORIGIN_MISSING');
    expect(readFileSync(bundle).equals(bad)).toBe(true);
  });
});

test('staging asks a copy that was found damaged last', async () => {
  const landing = await landed(two);
  await found(landing, 'filesystem');
  const again = { workflow_id: 'workflow-2', task_id: 'task-0002' };
  rmSync((await landing.dataset()).staged_path as string, { recursive: true });
  renameSync(landing.paths('filesystem'), landing.place.path('kept'));
  writeFileSync(landing.paths('filesystem'), 'never read');
  await landing.run('stage_dataset', again);
  expect(fingerprint((await landing.dataset()).staged_path as string)).toBe(fingerprint(landing.origin));
  const [newest] = await landing.store.catalog.proofs({ dataset_id: landing.id, limit: 1 });
  expect(newest).toMatchObject({ archive: 'mirror', result: 'ok', actor: 'stage' });
  expect(await open(landing)).toEqual(['filesystem']);
});
