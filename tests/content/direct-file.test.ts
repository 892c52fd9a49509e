import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { DirectFile } from '../../workers/content/direct-file.ts';
import { makePlace } from '../support/place.ts';

const MIB = 1024 * 1024;

async function written(path: string, bytes: Buffer, { kept = 0, piece = 256 * 1024 } = {}): Promise<Buffer> {
  const file = await DirectFile.open(path, kept);
  try {
    for (let at = kept; at < bytes.length; at += piece) await file.write(bytes.subarray(at, at + piece));
    await file.sync();
  } finally {
    await file.close();
  }
  return readFileSync(path);
}

test('bytes in pieces of any size arrive as they are, also behind a beginning that is no whole block', async () => {
  const place = await makePlace();
  for (const size of [0, 1, 511, 4096, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 9 * MIB + 777])
    for (const piece of [10_013, 4096, 256 * 1024, 5 * MIB]) {
      const bytes = randomBytes(size);
      const path = place.path('file');
      expect((await written(path, bytes, { piece })).equals(bytes), `${size} in ${piece}`).toBe(true);
      for (const kept of [1, 512, 4096, 4 * MIB + 512].filter((kept) => kept < size)) {
        writeFileSync(path, bytes.subarray(0, kept));
        expect((await written(path, bytes, { kept, piece })).equals(bytes), `${size} behind ${kept}`).toBe(
          true,
        );
      }
    }
});

test('what was longer before ends where the new bytes end', async () => {
  const place = await makePlace();
  const path = place.path('file');
  writeFileSync(path, randomBytes(6 * MIB));
  const bytes = randomBytes(5 * MIB);
  expect((await written(path, bytes)).equals(bytes)).toBe(true);
});

test('a full disk is told with the name of the file', async ({ skip }) => {
  const place = await makePlace();
  const image = place.path('image');
  const folder = place.dir('small');
  // ext4, since a tmpfs is not written directly.
  const made =
    spawnSync('truncate', ['-s', '16M', image]).status === 0 &&
    spawnSync('mkfs.ext4', ['-q', '-F', image]).status === 0 &&
    spawnSync('mount', ['-o', 'loop', image, folder]).status === 0;
  if (!made) return skip('NOT TESTED: an ext4 image cannot be mounted here; full disks are not provoked');
  onTestFinished(() => {
    spawnSync('umount', ['-l', folder]);
  });
  const path = join(folder, 'file');
  await expect(written(path, randomBytes(20 * MIB))).rejects.toMatchObject({ code: 'ENOSPC', path });
});

test('a file system without direct writing is written as usual', async ({ skip }) => {
  if (statSync('/dev/shm', { throwIfNoEntry: false }) === undefined)
    return skip('NOT TESTED: there is no /dev/shm; file systems without direct writing are not tried');
  const folder = join('/dev/shm', `longshore-${process.pid}`);
  mkdirSync(folder);
  onTestFinished(() => {
    spawnSync('rm', ['-r', folder]);
  });
  const bytes = randomBytes(9 * MIB + 5);
  expect((await written(join(folder, 'file'), bytes)).equals(bytes)).toBe(true);
});

test('a killed process leaves a beginning of the bytes, without a hole', async () => {
  const place = await makePlace();
  const module = new URL('../../workers/content/direct-file.ts', import.meta.url).href;
  for (let kill = 0; kill < 5; kill++) {
    const path = place.path(`file-${kill}`);
    // Every block of eight bytes holds its own place; 0 would be a hole.
    const script = `
      import { DirectFile } from ${JSON.stringify(module)};
      const file = await DirectFile.open(${JSON.stringify(path)}, 0);
      const piece = new Float64Array(32 * 1024);
      for (let at = 0; ; at += piece.length) {
        for (let index = 0; index < piece.length; index++) piece[index] = at + index + 1;
        await file.write(Buffer.from(piece.buffer));
        if (at === piece.length * 64) process.stdout.write('writing');
      }`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const bytes = readFileSync(path);
    const words = new Float64Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.length / 8));
    expect(words.length).toBeGreaterThan(0);
    expect(words.findIndex((word, index) => word !== index + 1)).toBe(-1);
  }
});
