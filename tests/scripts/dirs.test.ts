import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkFolder, type FolderRow } from '../../scripts/dirs/folders.ts';
import { openStore } from '../../workers/store.ts';
import { makePlace } from '../support/place.ts';
import { runScript } from '../support/script.ts';

const rowsOf = (stdout: string): FolderRow[] => (JSON.parse(stdout) as { folders: FolderRow[] }).folders;

test('setup_dirs reports every configured folder, bundles included, and makes nothing unless it is asked to', async () => {
  const place = await makePlace();
  const run = (...args: string[]) => runScript('setup_dirs.ts', [...args, '--json'], place.env);
  mkdirSync(place.path('data/scratch'), { recursive: true });
  const before = await run('--create=False');
  expect(before.code).toBe(0);
  const status = Object.fromEntries(rowsOf(before.stdout).map((row) => [row.key, row.status]));
  expect(status).toMatchObject({
    'paths.scratch': 'Exists',
    'paths.download_dir': 'Missing',
    'paths.RAW_DATA.stage': 'Missing',
    'paths.RAW_DATA.upload': 'Missing',
    'paths.RAW_DATA.bundle.generate': 'Missing',
    'paths.DATA_PRODUCT.bundle.stage': 'Missing',
    'registration.RAW_DATA.source_dir': 'Missing',
    'register_ondemand.DATA_PRODUCT.source_dir': 'Missing',
  });
  expect(readdirSync(place.path('data'))).toEqual(['scratch']);
  await run('--create', '--dry-run');
  expect(readdirSync(place.path('data'))).toEqual(['scratch']);

  const made = rowsOf((await run('--create=True')).stdout);
  const created = made.filter((row) => row.status === 'Created');
  expect(created.length).toBeGreaterThan(10);
  for (const { path } of created) expect(statSync(path as string).isDirectory()).toBe(true);
  // An empty folder in its place would pass for an archive whose mount is missing.
  expect(made.filter((row) => row.status === 'Missing').map(({ key }) => key)).toEqual([
    'paths.DATA_PRODUCT.archive',
    'paths.RAW_DATA.archive',
  ]);
  expect(rowsOf((await run()).stdout).some((row) => row.status === 'Created')).toBe(false);
});

test('a key that the configuration lacks, and a file in the place of a folder, are told', async () => {
  const place = await makePlace({
    dataset_types: ['RAW_DATA', 'DATA_PRODUCT', 'IMAGING'],
    paths: {
      IMAGING: {
        upload: '/dev/null',
        archive: '/tmp/a',
        stage: '/tmp/s',
        bundle: { generate: '/tmp/g', stage: '/tmp/b' },
        qc: '/tmp/q',
      },
    },
    registration: { IMAGING: { source_dir: '/tmp/src', rejects: [] } },
  });
  const { code, stdout } = await runScript('setup_dirs.ts', ['--json'], place.env);
  expect(code).toBe(1);
  const rows = rowsOf(stdout);
  expect(rows.find(({ key }) => key === 'register_ondemand.IMAGING.source_dir')).toMatchObject({
    path: null,
    status: 'Not configured',
  });
  expect(rows.find(({ key }) => key === 'paths.IMAGING.upload')).toMatchObject({ status: 'Failed' });
  const refused = checkFolder({ key: 'k', path: '/dev/null/such' }, true);
  expect(refused).toMatchObject({ status: 'Failed', note: expect.stringContaining('/dev/null/such') });
});

test('init_dirs makes them all at once', async () => {
  const place = await makePlace();
  expect((await runScript('init_dirs.ts', ['--dry-run'], place.env)).stdout).toContain('Missing');
  expect(existsSync(place.path('data/staged/raw_data'))).toBe(false);
  expect((await runScript('init_dirs.ts', [], place.env)).code).toBe(0);
  expect(existsSync(place.path('data/staged/raw_data'))).toBe(true);
});

test('create_test_import_datasets makes six folders in two sources, leaves what is there, and numbers what is registered', async () => {
  const place = await makePlace();
  const run = async (...args: string[]) => {
    const { stdout } = await runScript('create_test_import_datasets.ts', [...args, '--json'], place.env);
    return (JSON.parse(stdout) as { folders: { folder: string; outcome: string }[] }).folders;
  };
  expect((await run('--dry-run')).map(({ outcome }) => outcome)).toEqual(Array(6).fill('would create'));
  expect(existsSync(place.path('data'))).toBe(false);
  const made = await run();
  expect(made.map(({ outcome }) => outcome)).toEqual(Array(6).fill('created'));
  expect(readdirSync(place.path('data/register_ondemand')).sort()).toEqual(['data_products', 'raw_data']);
  const file = join(made[0]?.folder ?? '', 'reads_1.txt');
  const content = readFileSync(file, 'utf8');
  expect((await run()).map(({ outcome }) => outcome)).toEqual(Array(6).fill('exists'));
  expect(readFileSync(file, 'utf8')).toBe(content);

  const store = await openStore(place.config);
  for (const name of ['import_test_flat', 'import_test_flat_2'])
    await store.catalog.register(
      [{ dataset: { name, type: 'RAW_DATA', origin_path: place.path(name), create_method: 'TEST' } }],
      'test',
    );
  await store.close();
  const again = await run();
  expect(again.filter(({ outcome }) => outcome === 'created').map(({ folder }) => folder)).toEqual([
    place.path('data/register_ondemand/raw_data/import_test_flat_3'),
    place.path('data/register_ondemand/data_products/import_test_flat_3'),
  ]);
});
