/** Whoever owns a tree may change it while it is read: nothing outside of it may be taken for a part of it. */
import {
  chmodSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Beneath } from '../../workers/content/beneath.ts';
import { DigestPool } from '../../workers/content/digest/pool.ts';
import { shareTree } from '../../workers/content/permissions.ts';
import { walkTree } from '../../workers/content/walk.ts';
import { payloadFiles } from '../../workers/uploads/payload.ts';
import { makePlace } from '../support/place.ts';

/** A dataset with a folder, and somebody else's folder with files of the same names. */
async function makeTrees() {
  const place = await makePlace();
  const root = place.dir('dataset');
  const foreign = place.dir('foreign');
  for (const folder of [join(root, 'inner'), foreign]) {
    mkdirSync(join(folder, 'deeper'), { recursive: true });
    writeFileSync(join(folder, 'file'), 'own');
    writeFileSync(join(folder, 'deeper/file'), 'own');
  }
  writeFileSync(join(foreign, 'file'), 'a secret of others');
  writeFileSync(join(foreign, 'deeper/file'), 'a secret of others');
  return { place, root, foreign };
}

/** `inner` becomes a link to what lies outside. */
function swap(root: string, foreign: string): void {
  renameSync(join(root, 'inner'), join(root, '..', 'inner was here'));
  symlinkSync(foreign, join(root, 'inner'));
}

const changed = expect.objectContaining({ code: 'E_SOURCE_CHANGED' });

describe('a folder that becomes a link', () => {
  test('after it was looked at is not entered', async () => {
    const { root, foreign } = await makeTrees();
    const walk = walkTree(root);
    walk.next();
    expect(walk.next().value).toMatchObject({ path: 'inner', type: 'directory' });
    swap(root, foreign);
    expect(() => walk.next()).toThrow(changed);
  });

  test('while it is listed is still the one that was entered', async () => {
    const { root, foreign } = await makeTrees();
    const walk = walkTree(root);
    for (const path of ['.', 'inner', 'inner/deeper'])
      expect(walk.next().value).toMatchObject({ path, type: 'directory' });
    swap(root, foreign);
    const rest = [...walk];
    expect(rest.map(({ path, size }) => [path, size])).toEqual([
      ['inner/deeper/file', 3],
      ['inner/file', 3],
    ]);
  });

  test('gives no digests of what lies behind it', async () => {
    const { root, foreign } = await makeTrees();
    swap(root, foreign);
    const pool = new DigestPool(root, ['sha256']);
    try {
      const read: unknown[] = [];
      await pool.add('inner/file', 3, (digests) => read.push(digests));
      await expect(pool.settle()).rejects.toEqual(changed);
      expect(read).toEqual([]);
    } finally {
      await pool.close();
    }
  });

  test('of an upload is not followed', async () => {
    const { root, foreign } = await makeTrees();
    writeFileSync(join(root, 'a file'), 'first');
    const files = payloadFiles(root);
    expect(files.next().value).toMatchObject({ path: 'a file' });
    swap(root, foreign);
    expect(() => [...files]).toThrow(changed);
  });

  test('while a staged copy is shared opens nothing of others', async () => {
    const { root, foreign } = await makeTrees();
    const secret = join(foreign, 'file');
    for (const path of [secret, join(root, 'inner/file')]) chmodSync(path, 0o600);
    const many = Array.from({ length: 1000 }, (_, number) => join(root, 'inner', `a${number}`));
    for (const path of many) writeFileSync(path, '');
    let swapped = false;
    const sharing = shareTree(root, {
      onProgress: () => {
        if (!swapped) swap(root, foreign);
        swapped = true;
      },
    });
    await expect(sharing).rejects.toEqual(changed);
    expect(swapped).toBe(true);
    expect(statSync(secret).mode & 0o777).toBe(0o600);
  });
});

test('the folders on the way are closed when a walk ends early', async () => {
  const { root } = await makeTrees();
  const count = (): number => readdirSync('/proc/self/fd').length;
  const before = count();
  for (const member of walkTree(root)) if (member.path === 'inner/deeper/file') break;
  expect(count()).toBe(before);
});

describe('paths beneath a folder', () => {
  test('no name leads out of it', async () => {
    const { root } = await makeTrees();
    const beneath = new Beneath(root);
    try {
      expect(readFileSync(beneath.at('inner/file'), 'utf8')).toBe('own');
      for (const path of [
        '..',
        '../foreign/file',
        'inner/../../foreign/file',
        'inner/..',
        '',
        '/etc/hostname',
      ])
        expect(() => beneath.at(path), path).toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
    } finally {
      beneath.close();
    }
  });

  test('an error tells the path that people know', async () => {
    const { root } = await makeTrees();
    const beneath = new Beneath(root);
    try {
      openSync(beneath.at('inner/none'), 'r');
      expect.unreachable();
    } catch (error) {
      const { message, path } = beneath.named(error, 'inner/none');
      expect(path).toBe(join(root, 'inner/none'));
      expect(message).toBe(`ENOENT: no such file or directory, open '${join(root, 'inner/none')}'`);
    } finally {
      beneath.close();
    }
  });
});
