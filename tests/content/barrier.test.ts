import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { Barrier } from '../../workers/content/barrier.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { unpackBundle } from '../../workers/content/unpack/unpack.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const MIB = 1024 * 1024;

const run = (program: string, ...args: string[]): string | null => {
  const { status, stdout } = spawnSync(program, args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : null;
};

/** A file system of 64 MiB on a disk that takes 8 MiB and then fails; null where mounting is not permitted. */
function mountFailing(folder: string): string | null {
  const memory = join(folder, 'memory');
  const mounted = join(folder, 'mounted');
  const image = join(memory, 'image');
  mkdirSync(memory);
  mkdirSync(mounted);
  if (run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', memory) === null) return null;
  onTestFinished(() => void run('umount', '-l', memory));
  run('truncate', '-s', '64M', image);
  if (run('mkfs.ext4', '-q', '-F', '-O', '^has_journal', image) === null) return null;
  if (run('mount', '-o', 'loop,errors=continue', image, mounted) === null) return null;
  onTestFinished(() => void run('umount', '-l', mounted));
  return mounted;
}

const NO_MOUNT = 'NOT TESTED: no file system can be mounted here; failing disks are not tried';

test('a disk that failed is told to who began to write before, whoever else was told of it already', async ({
  skip,
}) => {
  const place = await makePlace();
  const folder = mountFailing(place.folder);
  if (folder === null) return skip(NO_MOUNT);
  const barrier = await Barrier.open(folder);
  writeFileSync(join(folder, 'file'), Buffer.alloc(30 * MIB, 1));
  expect(run('sync', '-f', folder)).toBeNull();
  expect(run('sync', '-f', folder)).not.toBeNull(); // This is why a sync that comes last proves nothing.
  // By what the disk has met first, the kernel tells it in its own words or in those of the full one below it.
  const code = expect.stringMatching(/^(EIO|ENOSPC)$/);
  await expect(barrier.sync()).rejects.toMatchObject({ code: 'E_IO', fields: { path: folder, code } });
  await expect(barrier.sync()).rejects.toMatchObject({ code: 'E_IO' });
  await barrier.close();
});

test('a bundle that is unpacked onto a failing disk fails, although its pages were written meanwhile', async ({
  skip,
}) => {
  const place = await makePlace();
  const folder = mountFailing(place.folder);
  if (folder === null) return skip(NO_MOUNT);
  const source = place.dir('source');
  for (let file = 0; file < 20; file++) writeFileSync(join(source, `file-${file}`), randomBytes(2 * MIB));
  const bundle = place.path('bundle.tar');
  const manifest = place.path('manifest');
  const digests = { member: ['blake3'], bundle: ['blake3'] } as const;
  await packBundle({ source, target: bundle, manifest, digests });
  const target = join(folder, 'tree');
  mkdirSync(target);
  await expect(unpackBundle({ bundle, target, manifest })).rejects.toMatchObject({ code: 'E_IO' });
});

test('without perl the barrier is a sync', async () => {
  const place = await makePlace();
  const path = process.env.PATH;
  process.env.PATH = place.dir('bin');
  symlinkSync('/bin/sync', place.path('bin', 'sync'));
  try {
    const barrier = await Barrier.open(place.folder);
    await barrier.sync();
    await barrier.close();
    rmSync(place.path('bin', 'sync'));
    const none = await Barrier.open(place.folder);
    await expect(none.sync()).rejects.toMatchObject({ code: 'E_TOOL_MISSING' });
    writeFileSync(place.path('bin', 'sync'), '#!/bin/sh\necho lost >&2\nexit 1\n', { mode: 0o755 });
    const failing = await Barrier.open(place.folder);
    await expect(failing.sync()).rejects.toMatchObject({
      code: 'E_IO',
      message: expect.stringContaining('lost'),
    });
  } finally {
    process.env.PATH = path;
  }
});

/** Processes that hold a barrier of this folder open. */
const holdersOf = (folder: string): string => run('pgrep', '-f', `perl .*${folder}`) ?? '';

test('a barrier whose holder was killed proves nothing, and says so', async () => {
  const place = await makePlace();
  const barrier = await Barrier.open(place.folder);
  await barrier.sync();
  process.kill(Number(holdersOf(place.folder)), 'SIGKILL');
  await expect(barrier.sync()).rejects.toMatchObject({
    code: 'E_HELPER_LOST',
    fields: { path: place.folder },
  });
  await barrier.close();
});

test('a barrier ends with its writer', async () => {
  const place = await makePlace();
  const module = new URL('../../workers/content/barrier.ts', import.meta.url).href;
  const script = `
    import { Barrier } from ${JSON.stringify(module)};
    await Barrier.open(${JSON.stringify(place.folder)});
    process.stdout.write('open');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  expect(holdersOf(place.folder)).not.toBe('');
  child.kill('SIGKILL');
  await until(() => holdersOf(place.folder) === '', { what: 'the barrier to be gone' });
});
