import { spawn, spawnSync } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Archive } from '../../workers/archive/contract.ts';
import { createFilesystemArchive } from '../../workers/archive/filesystem.ts';
import { openReadable } from '../../workers/archive/recall.ts';
import { folderOf } from '../../workers/archive/fetch-folder.ts';
import { fetchShared } from '../../workers/archive/shared-fetch.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { makePlace, type Place } from '../support/place.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { until } from '../support/until.ts';

const SIZE = 3_000_000;
const CONTENT = Buffer.alloc(SIZE, 'bundle');

/** An archive that gives only whole objects, and counts how often it is asked. */
async function tapes(place: Place, before: () => Promise<void> = async () => undefined) {
  const root = place.dir('tapes');
  const files = createFilesystemArchive({ root, roots: [root], state_dir: place.path('state') });
  writeFileSync(place.path('object'), CONTENT);
  await files.put('run.tar', { file: place.path('object') }, { task_id: 'task-0001' });
  const gets: string[] = [];
  const archive: Archive = {
    ...files,
    local: null,
    capabilities: { ...files.capabilities, range: false },
    read: () => {
      throw new Error('an archive without ranges is not read by ranges');
    },
    get: async (key, target, options) => {
      gets.push(key);
      await before();
      return files.get(key, target, options);
    },
  };
  const options = {
    archive,
    key: 'run.tar',
    size: SIZE,
    scratch: place.dir('scratch'),
    state_dir: place.path('state'),
    keep: 0,
  };
  return { archive, gets, options };
}

const left = (place: Place): string[] =>
  readdirSync(place.path('scratch'), { recursive: true, encoding: 'utf8' });

test('parts of a bundle come out of one copy, which is gone when nobody needs it', async () => {
  const place = await makePlace();
  const { gets, options } = await tapes(place);
  const bundle = await openReadable(options);
  for (const [offset, length] of [
    [0, 10],
    [2_000_001, 999_999],
    [5, 1_500_000],
  ] as const) {
    const chunks: Buffer[] = [];
    for await (const chunk of bundle.read(offset, length)) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(CONTENT.subarray(offset, offset + length))).toBe(true);
  }
  await bundle.close();
  expect(gets).toHaveLength(1);
  expect(left(place)).toEqual([]);
});

test('those who ask at the same time share one fetch; the last one removes it', async () => {
  const place = await makePlace();
  const gate = Promise.withResolvers<void>();
  const { gets, options } = await tapes(place, () => gate.promise);
  const all = Array.from({ length: 5 }, () => fetchShared(options));
  await until(() => gets.length > 0, { what: 'the fetch' });
  gate.resolve();
  const bundles = await Promise.all(all);
  expect(gets).toHaveLength(1);
  expect(bundles.filter(({ fetched }) => fetched)).toHaveLength(1);
  for (const [index, bundle] of bundles.entries()) {
    expect((await bundle.file.stat()).size).toBe(SIZE);
    expect(left(place).some((path) => path.endsWith('/bundle'))).toBe(true);
    if (index < 4) await bundle.close();
  }
  await bundles[4]?.close();
  expect(left(place)).toEqual([]);
});

test('a fetch that fails leaves nothing, and who waited for it tries for itself', async () => {
  const place = await makePlace();
  let first = true;
  const gate = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  const { gets, options } = await tapes(place, async () => {
    if (!first) return told.promise; // However long it takes.
    first = false;
    await gate.promise;
    throw new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'the tape robot is away');
  });
  const failing = fetchShared(options);
  failing.catch(() => undefined);
  await until(() => gets.length > 0, { what: 'the first fetch' });
  const waiting = fetchShared(options);
  gate.resolve();
  await expect(failing).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE' });
  told.resolve();
  const bundle = await waiting;
  expect(bundle.fetched).toBe(true);
  await bundle.close();
  expect(left(place)).toEqual([]);
});

test('a bundle that comes with fewer bytes than the archive states is no bundle', async () => {
  const place = await makePlace();
  const { archive, options } = await tapes(place);
  const short: Archive = {
    ...archive,
    get: async (_, target) => {
      writeFileSync(target, CONTENT.subarray(0, SIZE - 1));
      return { size: SIZE, modified: null, digests: {} };
    },
  };
  await expect(fetchShared({ ...options, archive: short })).rejects.toMatchObject({
    code: 'E_TRANSFER',
    fields: { expected: SIZE, actual: SIZE - 1 },
  });
  expect(left(place)).toEqual([]);
});

test('too little room in the scratch space is said before the tape moves', async () => {
  const place = await makePlace();
  const { gets, options } = await tapes(place);
  await expect(fetchShared({ ...options, keep: Number.MAX_SAFE_INTEGER })).rejects.toMatchObject({
    code: 'E_NO_SPACE',
  });
  expect(gets).toEqual([]);
  expect(left(place)).toEqual([]);
});

test('a process killed while it fetches is succeeded by the next, and what others left is cleared', async () => {
  const place = await makePlace();
  const { gets, options } = await tapes(place);
  const script = `
    const { fetchShared } = await import(${JSON.stringify(new URL('../../workers/archive/shared-fetch.ts', import.meta.url).href)});
    const archive = {
      name: 'filesystem', capabilities: { resume: false }, locate: (key) => key,
      get: async (key, target) => {
        (await import('node:fs')).writeFileSync(target, 'half');
        await new Promise((resolve) => setTimeout(resolve, 1e8));
      },
    };
    await fetchShared({ ...JSON.parse(process.argv[1]), archive });
  `;
  const { archive: _archive, ...plain } = options;
  const dead = [plain.key, 'other.tar'].map((key) =>
    spawn(process.execPath, ['--input-type=module', '-e', script, JSON.stringify({ ...plain, key })], {
      stdio: 'inherit',
      env: { ...process.env, ...place.env },
    }),
  );
  await until(() => left(place).filter((path) => path.endsWith('/partial')).length === 2, {
    what: 'both halves',
  });
  for (const child of dead) {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  const bundle = await fetchShared(options);
  expect(gets).toHaveLength(1);
  expect((await bundle.file.read(Buffer.alloc(20), 0, 20, 0)).buffer).toEqual(CONTENT.subarray(0, 20));
  await bundle.close();
  expect(left(place)).toEqual([]);
});

test('what dead processes have left serves a recall, and nobody who asks what the archive holds now', async () => {
  const place = await makePlace();
  const { gets, options } = await tapes(place);
  const folder = folderOf(options.archive.name, options.key, options.scratch);
  for (const fresh of [false, true]) {
    mkdirSync(folder);
    writeFileSync(join(folder, 'kept'), CONTENT);
    const got = await fetchShared({ ...options, fresh });
    expect(got.fetched).toBe(fresh);
    await got.close();
  }
  expect(gets).toHaveLength(1);
});

test('one that hands on its own file across file systems keeps it until all who wait have opened it', async ({
  skip,
}) => {
  const place = await makePlace();
  const gate = Promise.withResolvers<void>();
  const { gets, options } = await tapes(place, () => gate.promise);
  if (smallFileSystem(options.scratch, ['size=8m']) === null)
    return skip('NOT TESTED: needs root, to mount a file system');
  const own = join(place.dir('staged'), 'run.tar');
  const staging = fetchShared({ ...options, own });
  await until(() => gets.length === 1, { what: 'the transfer' });
  const others = [fetchShared(options), fetchShared({ ...options, fresh: true })];
  await until(() => left(place).filter((path) => path.includes('/using-')).length === 3, {
    what: 'all three',
  });
  gate.resolve();
  const first = await staging;
  expect(first).toMatchObject({ path: own, fetched: true });
  await first.close();
  rmSync(own); // The staging has unpacked it.
  for (const other of await Promise.all(others)) {
    expect(other.fetched).toBe(false);
    expect((await other.file.read(Buffer.alloc(20), 0, 20, 0)).buffer).toEqual(CONTENT.subarray(0, 20));
    await other.close();
  }
  expect(gets).toHaveLength(1);
  expect(left(place)).toEqual([]);
});

test.for([1, 2, 3, 4])(
  'scratch space with room for %i entries holds up nobody afterwards',
  async (entries, { skip }) => {
    const place = await makePlace();
    const { options } = await tapes(place);
    if (smallFileSystem(options.scratch, [`nr_inodes=${entries}`]) === null)
      return skip('NOT TESTED: needs root, to mount a file system');
    await expect(fetchShared(options)).rejects.toMatchObject({ code: 'ENOSPC' });
    // A claim of a process that lives, and waits for nothing, would be waited for by others.
    expect(left(place).filter((path) => /(waiting|using)-/.test(path))).toEqual([]);
  },
);

test('the claim of another host counts while it is fresh', async () => {
  const place = await makePlace();
  const { options } = await tapes(place);
  const bundle = await fetchShared(options);
  const [folder = ''] = readdirSync(options.scratch);
  const { pid } = spawnSync('true');
  const note = (host: string): string => JSON.stringify({ host, pid, started: '1' });
  writeFileSync(join(options.scratch, folder, 'using-elsewhere'), note(`${hostname()}-other`));
  writeFileSync(join(options.scratch, folder, 'using-dead'), note(hostname()));
  await bundle.close();
  expect(readdirSync(join(options.scratch, folder)).toSorted()).toEqual(['bundle', 'using-elsewhere']);
  expect(statSync(join(options.scratch, folder, 'bundle')).size).toBe(SIZE);
  expect(existsSync(join(options.scratch, folder, 'using-dead'))).toBe(false);
  mkdirSync(join(options.scratch, 'not ours'));
  expect(readFileSync(join(options.scratch, folder, 'bundle')).equals(CONTENT)).toBe(true);
});

describe('in a scratch space that others write to', () => {
  test('a link with the name of such a folder leads to nothing that is removed', async () => {
    const place = await makePlace();
    const { options } = await tapes(place);
    const precious = join(place.dir('precious'), 'other.tar');
    writeFileSync(precious, 'the only copy');
    symlinkSync(place.path('precious'), join(options.scratch, `recall-${'0'.repeat(24)}`));
    const bundle = await fetchShared(options);
    await bundle.close();
    expect(readFileSync(precious, 'utf8')).toBe('the only copy');
    expect(readdirSync(place.path('precious'))).toEqual(['other.tar']);
  });

  test('a bundle that somebody else has laid there is not taken for the archived one', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('needs root to make files of other users');
    const place = await makePlace();
    const { options, gets } = await tapes(place);
    const folder = folderOf(options.archive.name, options.key, options.scratch);
    mkdirSync(folder);
    writeFileSync(join(folder, 'bundle'), Buffer.alloc(SIZE, 'forged'));
    chownSync(folder, 4001, 4001);
    await expect(fetchShared(options)).rejects.toMatchObject({
      code: 'E_IO',
      class: 'operator',
      fields: { path: folder },
    });
    expect(gets).toEqual([]);
    expect(readdirSync(folder)).toEqual(['bundle']);
  });
});
