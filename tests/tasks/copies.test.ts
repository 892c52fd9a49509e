/** Datasets whose type has several archives. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { digestFile } from '../../workers/content/digest/file.ts';
import { loadTask } from '../../workers/tasks/registry.ts';
import { makeContext } from './context.ts';
import { fingerprint, type Landing, makeLanding } from './landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.bin': Buffer.alloc(300_000, 7), 'sub/link': { link: 'b.bin' } };

/** The archive in the file system, and a second one with a root of its own. */
async function twoArchives(): Promise<Landing & { mirror: (key: string) => string }> {
  const config = {
    archive: {
      types: { RAW_DATA: ['filesystem', 'mirror'] },
      backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
    },
  };
  const landing = await makeLanding(files, { config });
  return { ...landing, mirror: (key) => join(landing.place.path('mirror'), key) };
}

const keyOf = async (landing: Landing): Promise<string> => (await landing.dataset()).archive_path as string;

const flip = (path: string, at: number): void => {
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
};

test('a dataset is archived when both archives hold it, each copy read back and in the ledger', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const key = await keyOf(landing);
  expect(readFileSync(landing.mirror(key)).equals(readFileSync(key))).toBe(true);
  expect(existsSync(landing.mirror(`${key}.manifest.ndjson`))).toBe(true);
  const copies = await landing.store.catalog.copies(landing.id);
  expect(copies.map(({ archive, key: at, verified_how }) => [archive, at, verified_how])).toEqual([
    ['filesystem', key, 'stream'],
    ['mirror', key, 'stream'],
  ]);
  const ledger = await landing.store.catalog.proofs({ dataset_id: landing.id, limit: 10 });
  expect(ledger.map(({ archive, result, actor }) => [archive, result, actor])).toEqual([
    ['mirror', 'ok', 'archive'],
    ['filesystem', 'ok', 'archive'],
  ]);
  expect(await landing.states()).toEqual(['REGISTERED', 'ARCHIVED']);
});

test('while one of two archives is away it is not archived; then only that copy is made', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const key = await keyOf(landing);
  const second = await twoArchives();
  await second.run('inspect_dataset');
  // This host knows the mirror, and it is not mounted.
  await second.run('archive_dataset');
  rmSync(second.mirror('.longshore-archive'));
  const target = await keyOf(second);
  rmSync(second.mirror(target));
  writeFileSync(join(second.origin, 'new.txt'), 'new');
  expect((await second.fails('archive_dataset', { attempt: 2 })).code).toBe('E_ARCHIVE_UNAVAILABLE');
  writeFileSync(second.mirror('.longshore-archive'), '');
  await second.run('inspect_dataset', { attempt: 3 });
  await second.run('archive_dataset', { attempt: 3 });
  expect(readFileSync(second.mirror(target)).equals(readFileSync(target))).toBe(true);
  // A copy that is lost is made from the other one, which is not packed again.
  const before = statSync(key);
  rmSync(landing.mirror(key));
  await landing.run('archive_dataset', { attempt: 2 });
  expect(statSync(key).ino).toBe(before.ino);
  expect(readFileSync(landing.mirror(key)).equals(readFileSync(key))).toBe(true);
});

test('a worker that loses its job between two archives brings nothing more to the second', async () => {
  const landing = await twoArchives();
  await landing.run('inspect_dataset');
  const loseAt = (lost: number) => ({
    lease: (assertion: number) => {
      if (assertion === lost) throw new Error('lost');
    },
  });
  const mirrored = async (): Promise<string[]> => {
    const folder = dirname(landing.mirror(String((await landing.dataset()).metadata.archive_target)));
    return existsSync(folder) ? readdirSync(folder) : [];
  };
  await expect(landing.run('archive_dataset', loseAt(1))).rejects.toThrow('lost');
  expect(await mirrored()).toEqual([]);
  await expect(landing.run('archive_dataset', { attempt: 2, ...loseAt(1) })).rejects.toThrow('lost');
  expect(await mirrored()).toEqual(['run_A.tar.manifest.ndjson']);
  await landing.run('archive_dataset', { attempt: 3 });
  expect(await mirrored()).toEqual(['run_A.tar', 'run_A.tar.manifest.ndjson']);
  // The second holds a whole bundle then, and not what the first one holds.
  writeFileSync(join(landing.origin, 'new.txt'), 'new');
  await expect(landing.run('archive_dataset', { attempt: 4, ...loseAt(1) })).rejects.toThrow('lost');
  const key = await keyOf(landing);
  expect(readFileSync(landing.mirror(key)).equals(readFileSync(key))).toBe(false);
  await landing.run('archive_dataset', { attempt: 5 });
  expect(readFileSync(landing.mirror(key)).equals(readFileSync(key))).toBe(true);
});

test('a dataset is not archived when what arrived in one of two archives is not what was sent', async () => {
  const landing = await twoArchives();
  await landing.run('inspect_dataset');
  const { catalog } = landing.store;
  const putCopy = catalog.putCopy.bind(catalog);
  catalog.putCopy = async (id, copy) => {
    await putCopy(id, copy);
    if (copy.archive === 'mirror') flip(landing.mirror(copy.key), 5000);
  };
  expect((await landing.fails('archive_dataset')).code).toBe('E_TRANSFER');
  expect(await landing.dataset()).toMatchObject({ archive_path: null });
  catalog.putCopy = putCopy;
  expect(await landing.states()).toEqual(['REGISTERED']);
});

test('staging takes the second copy when the first is damaged, says so, and keeps it in the ledger', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const key = await keyOf(landing);
  flip(key, 5000);
  const damaged = readFileSync(key);
  await landing.run('stage_dataset');
  await landing.run('validate_dataset');
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  const [newest, before] = await landing.store.catalog.proofs({ dataset_id: landing.id, limit: 10 });
  expect(newest).toMatchObject({ archive: 'mirror', result: 'ok', level: 'stream', actor: 'stage' });
  expect(before).toMatchObject({
    archive: 'filesystem',
    result: 'mismatch',
    details: { code: 'E_BUNDLE_CORRUPT' },
  });
  expect(readFileSync(key).equals(damaged)).toBe(true); // Never repaired in silence.
});

test('staging takes the second copy when the first is unsafe, and keeps it in the ledger as far as it is known', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const key = await keyOf(landing);
  const { origin } = landing;
  const tar = (path: string, ...args: string[]): void => {
    rmSync(`${path}.manifest.ndjson`);
    expect(spawnSync('tar', ['-P', '-cf', path, ...args], { encoding: 'utf8' }).stderr).toBe('');
  };
  tar(landing.mirror(key), '-C', origin, '.');
  tar(key, '-C', join(origin, 'sub'), '../a.txt', 'b.bin', 'link');
  const { size } = statSync(landing.mirror(key));
  expect(statSync(key).size).toBe(size);
  const bundle = { name: 'run_A.tar', size, md5: null, digests: {}, verified_at: null };
  await landing.store.catalog.patch(landing.id, { bundle });
  const record = async (archive: string, digests: Record<string, string>): Promise<void> =>
    landing.store.catalog.putCopy(landing.id, {
      archive,
      key,
      size,
      digests,
      stored_at: new Date().toISOString(),
    });
  await record('mirror', {});
  const sound = await digestFile(landing.mirror(key), ['blake3']);
  for (const [attempt, digests, found] of [
    [1, {}, { result: 'unavailable', details: { code: 'E_BUNDLE_UNSAFE' } }],
    [2, sound, { result: 'mismatch', details: { code: 'E_BUNDLE_CORRUPT' } }],
  ] as const) {
    await record('filesystem', digests);
    await landing.run('stage_dataset', { attempt, workflow_id: `w-${attempt}`, task_id: `task-${attempt}` });
    const { staged_path } = await landing.dataset();
    expect(fingerprint(staged_path as string)).toBe(fingerprint(origin));
    const proofs = await landing.store.catalog.proofs({ dataset_id: landing.id, limit: 2 });
    expect(proofs.find(({ archive }) => archive === 'filesystem')).toMatchObject(found);
  }
});

test('staging takes the second copy when the first is away or gone; when none serves, the first failure is told', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const key = await keyOf(landing);
  renameSync(landing.place.path('data/archive'), landing.place.path('away'));
  await landing.run('stage_dataset');
  await landing.run('validate_dataset'); // The manifest of the second copy serves too.
  rmSync(landing.mirror(key));
  const error = await landing.fails('stage_dataset', { attempt: 2 });
  expect(error).toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE', class: 'retryable' });
  renameSync(landing.place.path('away'), landing.place.path('data/archive'));
  rmSync(key);
  expect(await landing.fails('stage_dataset', { attempt: 3 })).toMatchObject({ code: 'E_BUNDLE_MISSING' });
});

test('a deletion removes both copies, or none when one archive is away', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const key = await keyOf(landing);
  renameSync(landing.mirror('.longshore-archive'), landing.place.path('mark'));
  rmSync(landing.mirror(key));
  expect((await landing.fails('delete_dataset')).code).toBe('E_ARCHIVE_UNAVAILABLE');
  expect(existsSync(key)).toBe(true);
  renameSync(landing.place.path('mark'), landing.mirror('.longshore-archive'));
  await landing.run('delete_dataset');
  for (const path of [key, `${key}.manifest.ndjson`, landing.mirror(`${key}.manifest.ndjson`)])
    expect(existsSync(path)).toBe(false);
  expect(await landing.store.catalog.copies(landing.id)).toEqual([]);
});

test('an origin is kept while one of the copies that the policy asks for is missing or unproven', async () => {
  const landing = await twoArchives();
  await landing.upTo('setup_dataset_download');
  const key = await keyOf(landing);
  renameSync(landing.mirror(key), landing.place.path('mirrored'));
  const missing = await landing.fails('delete_source');
  expect(missing).toMatchObject({ code: 'E_NOT_ARCHIVED', message: expect.stringContaining('no bundle at') });
  renameSync(landing.place.path('mirrored'), landing.mirror(key));
  await landing.store.catalog.removeCopy(landing.id, 'mirror');
  expect((await landing.fails('delete_source')).message).toContain('no copy in the archive mirror');
  // As by a kill after it was recorded and before it was read back.
  const [sound] = await landing.store.catalog.copies(landing.id);
  if (sound === undefined) throw new Error('no copy is recorded');
  await landing.store.catalog.putCopy(landing.id, { ...sound, archive: 'mirror' });
  expect((await landing.fails('delete_source')).message).toContain('has never been verified');
  await landing.run('archive_dataset', { attempt: 2 });
  await landing.run('delete_source');
  expect(existsSync(landing.origin)).toBe(false);
});

test('a task for which the archive has no transfer left comes again later, and holds no slot', async () => {
  const tape = {
    archive: {
      copies: ['tape'],
      backends: {
        tape: {
          kind: 'sda',
          hsi: join(import.meta.dirname, '../fixtures/bin/hsi'),
          hsi_args: ['--stand-in={home}/hpss'],
          max_transfers: 3,
        },
      },
    },
  };
  const landing = await makeLanding(files, { config: tape });
  await landing.run('inspect_dataset');
  const asked: [string, number][] = [];
  const permit = (resource: string, limit: number): boolean => {
    asked.push([resource, limit]);
    return !resource.startsWith('archive:');
  };
  expect(await landing.run('archive_dataset', { permit })).toMatchObject({
    postpone: { reason: 'waits for one of 3 transfers of the archive tape' },
  });
  expect(asked).toEqual([
    [`dataset:${landing.id}:copies`, 1],
    ['archive:tape', 3],
  ]);
  expect(existsSync(landing.place.path('hpss/files'))).toBe(false);
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await landing.run('stage_dataset', { permit })).toMatchObject({ postpone: {} });
  await landing.run('stage_dataset', { attempt: 2 });
  await landing.run('validate_dataset');
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  const [copy] = await landing.store.catalog.copies(landing.id);
  expect(copy).toMatchObject({
    archive: 'tape',
    digests: { md5: expect.any(String) },
    verified_how: 'stream',
  });
  // Nothing of the bundle stays where it was made.
  expect(readdirSync(landing.place.path('data/bundle/raw_data/generation'))).toEqual([]);
});

test('an archive that the configuration names no more keeps no other copy from being staged, and its own from being forgotten', async () => {
  const landing = await twoArchives();
  await landing.upTo('archive_dataset');
  const { store, id, place } = landing;
  const run = async (task: string, names: Record<string, { kind: 'filesystem' }>) => {
    const archive = { ...place.config.archive, types: {}, copies: Object.keys(names), backends: names };
    const config = { ...place.config, archive } as unknown as typeof place.config;
    const notes = { lines: [], tools: [], audit: [], progress: [] };
    return (await loadTask(task)).run(makeContext({ config, store, id, run: {}, notes }));
  };
  const left = { filesystem: { kind: 'filesystem' } } as const;
  await run('stage_dataset', left);
  expect(fingerprint((await landing.dataset()).staged_path as string)).toBe(fingerprint(landing.origin));
  // A deletion would leave its copy behind.
  const unknown = { code: 'E_CONFIG', message: expect.stringContaining('archive.backends.mirror') };
  await expect(run('delete_dataset', left)).rejects.toMatchObject(unknown);
  expect(existsSync(await keyOf(landing))).toBe(true);
  // And of all copies none is left.
  const renamed = { disk: { kind: 'filesystem' } } as const;
  await expect(run('stage_dataset', renamed)).rejects.toMatchObject({ code: 'E_CONFIG' });
});
