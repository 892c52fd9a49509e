import { createHash } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadConfig } from '../../config/index.ts';
import { openArchive } from '../../workers/archive/index.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

const hsi = join(import.meta.dirname, '../fixtures/bin/hsi');

/** Datasets that another system archived on tape (an hsi stand-in) or in a file system. */
async function setUp(kind: 'sda' | 'filesystem') {
  const place = await makePlace();
  const known = JSON.parse(place.env.LONGSHORE_OVERRIDES ?? '{}') as object;
  const tape = { kind: 'sda', hsi, hsi_args: [`--stand-in=${place.dir('hpss')}`] };
  const archive = kind === 'sda' ? { copies: ['tape'], backends: { tape } } : {};
  const env = { ...place.env, LONGSHORE_OVERRIDES: JSON.stringify({ ...known, archive }) };
  const { config } = await loadConfig({ environment: { values: env, file: null, fromFile: new Set() } });
  const store = await openStore(config);
  onTestFinished(() => store.close());
  const archived = async (name: string, bytes: Buffer | null): Promise<number> => {
    const item = {
      name,
      type: 'RAW_DATA',
      origin_path: place.path('origin', name),
      create_method: 'TEST' as const,
    };
    const [answer] = await store.catalog.register([{ dataset: item }], 'test');
    if (answer?.outcome !== 'created') throw new Error(`${name} was not registered`);
    const { id } = answer.dataset;
    const key =
      kind === 'sda' ? `/hpss/raw/${name}.tar` : place.path('data/archive/2021/raw_data', `${name}.tar`);
    if (bytes !== null && kind === 'sda') {
      const file = place.path(`${name}.tar`);
      writeFileSync(file, bytes);
      await openArchive(config, 'tape').put(key, { file }, { task_id: 'task-0001' });
    } else if (bytes !== null) {
      place.dir(dirname(key).slice(place.folder.length + 1));
      await openArchive(config, 'filesystem').prepare(key);
      writeFileSync(key, bytes);
    }
    await store.catalog.patch(id, { archive_path: key, du_size: 1, is_staged: true });
    return id;
  };
  const populate = (...args: string[]) => runScript('populate_bundles.ts', args, env);
  const bundleOf = async (id: number) => (await store.catalog.get(id, { bundle: true })).bundle;
  const control = (how: Record<string, unknown>) =>
    writeFileSync(place.path('hpss/control.json'), JSON.stringify(how));
  return { place, store, archived, populate, bundleOf, control };
}

const bytes = Buffer.alloc(20_000, 'tar');
const md5 = createHash('md5').update(bytes).digest('hex');

test('size and hash are those of the archive, not those of the dataset; a dry run changes nothing', async () => {
  const { archived, populate, bundleOf, store } = await setUp('sda');
  const id = await archived('run_1', bytes);
  const other = await archived('run_2', bytes);
  const recorded = { name: 'x.tar', size: 5, md5: null, digests: {}, verified_at: null };
  await store.catalog.patch(other, { bundle: recorded });
  const dry = await populate('--dry_run', '--json');
  expect(JSON.parse(dry.stdout)).toMatchObject({
    datasets: [{ dataset_id: id, outcome: 'would process', md5 }],
  });
  expect(await bundleOf(id)).toBeNull();
  const done = await populate('--app_id', 'longshore-test', '--json');
  expect(JSON.parse(done.stdout)).toMatchObject({ dry_run: false, processed: [id], unprocessed: [] });
  expect(done.code).toBe(0);
  expect(await bundleOf(id)).toMatchObject({ name: 'run_1.tar', size: 20_000, md5, verified_at: null });
  expect((await store.catalog.get(id)).is_staged).toBe(false);
  expect(await bundleOf(other)).toEqual(recorded);
  expect((await store.records.auditLog({ subject: `dataset:${id}` }))[0]?.action).toBe(
    'dataset.populate_bundle',
  );
  expect(await populate('--app_id', 'another')).toMatchObject({ code: 2 });
});

test('no hash, nothing there, and an archive that is away are reported by id, never patched', async () => {
  const { archived, populate, bundleOf, control, place } = await setUp('sda');
  const [hashless, missing] = [await archived('run_1', bytes), await archived('run_2', null)];
  // As of a file that was put without `-c on`.
  rmSync(place.path('hpss/hashes'), { recursive: true });
  const { code, stdout } = await populate('--json');
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({
    processed: [],
    unprocessed: [hashless, missing],
    datasets: [{ outcome: 'no hash', size: 20_000, md5: null }, { outcome: 'missing' }],
  });
  expect(await bundleOf(hashless)).toBeNull();
  control({ away: true });
  const away = await populate('--json');
  expect(away.code).toBe(5);
  expect(JSON.parse(away.stdout)).toMatchObject({
    datasets: [{ outcome: 'unavailable' }, { outcome: 'unavailable' }],
  });
  expect(await bundleOf(missing)).toBeNull();
});

test('an archive that states no digests is read only when that is asked for', async () => {
  const { archived, populate, bundleOf, place } = await setUp('filesystem');
  const id = await archived('run_1', bytes);
  const told = await populate();
  expect(told).toMatchObject({ code: 1, stdout: expect.stringContaining('--read computes it') });
  expect(await bundleOf(id)).toBeNull();
  expect((await populate('--read')).code).toBe(0);
  expect(await bundleOf(id)).toMatchObject({ size: 20_000, md5 });
  expect(existsSync(place.path('data/archive/2021/raw_data/run_1.tar'))).toBe(true);
});
