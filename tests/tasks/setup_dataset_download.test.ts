import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { type Landing, makeLanding } from './landing.ts';

const files = { 'a.txt': 'alpha', 'sub/b.txt': 'beta', 'sub/nowhere': { link: 'gone' } };

async function validated(config: Record<string, unknown> = {}) {
  const landing = await makeLanding(files, { config });
  chmodSync(join(landing.origin, 'a.txt'), 0o600);
  chmodSync(join(landing.origin, 'sub'), 0o700);
  await landing.upTo('validate_dataset');
  const dataset = await landing.dataset();
  const alias = dataset.metadata.stage_alias as string;
  return { landing, tree: dataset.staged_path as string, link: landing.place.path('data/downloads', alias) };
}

const mode = (path: string): number => lstatSync(path).mode & 0o7777;

/** Reads as an unprivileged user; null when that user may not. */
function readAsNobody(path: string): string | null {
  const done = spawnSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', 'cat', '--', path]);
  return done.status === 0 ? done.stdout.toString() : null;
}

test('both links lead to their places, again after a second run, and replace whatever stood there', async () => {
  const { landing, tree, link } = await validated();
  mkdirSync(join(link, 'an old folder'), { recursive: true });
  const bundle = landing.place.path('data/downloads/run_A.RAW_DATA.tar');
  writeFileSync(bundle, 'an old file');
  for (const attempt of [1, 2]) {
    await landing.run('setup_dataset_download', { attempt });
    expect(readlinkSync(link)).toBe(tree);
    expect(readlinkSync(bundle)).toBe(landing.place.path('data/bundle/raw_data/staging/run_A.RAW_DATA.tar'));
  }
  expect(readdirSync(dirname(link))).toHaveLength(2);
  expect(await landing.states()).not.toContain('QC');
});

test('at no moment is there no link while it is set up again and again', async () => {
  const { landing, link } = await validated();
  await landing.run('setup_dataset_download');
  const watcher = spawnWatcher(landing, link);
  for (let attempt = 2; attempt < 12; attempt++) await landing.run('setup_dataset_download', { attempt });
  expect(await watcher()).toEqual({ misses: 0, looks: expect.any(Number) });
});

test('others read through the whole path, list no folder above the dataset, and links are left alone', async () => {
  const { landing, tree, link } = await validated();
  const outside = landing.place.path('outside.txt');
  writeFileSync(outside, 'private');
  chmodSync(outside, 0o600);
  symlinkSync(outside, join(tree, 'out'));
  // paths.root: whether others come in at all is the site's own decision.
  const root = landing.place.path('data');
  chmodSync(root, 0o700);
  // What is made in them has the group of the facility, and goes on to have it.
  for (const folder of [join(tree, 'sub'), dirname(tree)]) chmodSync(folder, 0o2700);
  await landing.run('setup_dataset_download');
  expect(mode(root)).toBe(0o700);

  expect(mode(join(tree, 'a.txt'))).toBe(0o604);
  expect(mode(join(tree, 'sub'))).toBe(0o2705);
  expect(mode(dirname(tree))).toBe(0o2701);
  for (let at = dirname(tree); at !== root; at = dirname(at)) expect(mode(at) & 0o007, at).toBe(0o001);
  expect(mode(outside)).toBe(0o600);
  expect(mode(landing.place.path('data/downloads')) & 0o004).toBe(0);
  expect(readFileSync(join(link, 'sub/b.txt'), 'utf8')).toBe('beta');
});

test('an unprivileged user can read a file through the link, and cannot list the stage folder', async (context) => {
  const { landing, tree, link } = await validated();
  chmodSync(landing.place.folder, 0o711); // A test's own corner is closed to others otherwise.
  await landing.run('setup_dataset_download');
  const reachable = spawnSync('setpriv', [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    'test',
    '-x',
    landing.place.path('data'),
  ]);
  if (reachable.status !== 0)
    context.skip('NOT TESTED: this checkout itself cannot be entered by others (or setpriv is missing)');
  expect(readAsNobody(join(link, 'a.txt'))).toBe('alpha');
  const listed = spawnSync('setpriv', [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    'ls',
    dirname(tree),
  ]);
  expect(listed.status).not.toBe(0);
});

test('paths.root that is not above the staged copy ends with a clear error, and nothing is opened', async () => {
  const { landing, tree } = await validated({ paths: { root: '/usr' } });
  const before = mode(join(tree, 'a.txt'));
  const error = await landing.fails('setup_dataset_download');
  expect(error).toMatchObject({ code: 'E_CONFIG', fields: { root: '/usr', path: tree } });
  expect(mode(join(tree, 'a.txt'))).toBe(before);
});

test('paths.root may be a link to the folder above', async () => {
  const { landing, tree } = await validated({ paths: { root: '/usr' } });
  const root = landing.place.path('root-link');
  symlinkSync(landing.place.path('data'), root);
  Object.defineProperty(landing.place, 'config', {
    value: { ...landing.place.config, paths: { ...landing.place.config.paths, root } },
  });
  await landing.run('setup_dataset_download');
  expect(mode(dirname(tree)) & 0o001).toBe(1);
});

test.each(['tree', 'bundle'])('a staged %s that is gone is refused', async (what) => {
  const { landing, tree } = await validated();
  rmSync(what === 'tree' ? tree : landing.place.path('data/bundle/raw_data/staging/run_A.RAW_DATA.tar'), {
    recursive: true,
  });
  expect(await landing.fails('setup_dataset_download')).toMatchObject({ code: 'E_VALIDATION' });
});

test('a worker that lost its job leaves the old links', async () => {
  const { landing, tree, link } = await validated();
  await landing.run('setup_dataset_download');
  await expect(
    landing.run('setup_dataset_download', {
      lease: () => {
        throw new Error('lost');
      },
    }),
  ).rejects.toThrow('lost');
  expect(readlinkSync(link)).toBe(tree);
  expect(statSync(link).isDirectory()).toBe(true);
});

/** A process of its own that looks for the link all the time. */
function spawnWatcher(landing: Landing, link: string): () => Promise<{ misses: number; looks: number }> {
  const stop = landing.place.path('stop');
  const script = `const { lstatSync } = require('node:fs'); let misses = 0, looks = 0;
    while (lstatSync(${JSON.stringify(stop)}, { throwIfNoEntry: false }) === undefined) {
      looks++; if (lstatSync(${JSON.stringify(link)}, { throwIfNoEntry: false }) === undefined) misses++;
    } console.log(JSON.stringify({ misses, looks }));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const output = text(child.stdout);
  return async () => {
    writeFileSync(stop, '');
    return JSON.parse(await output) as { misses: number; looks: number };
  };
}
