import {
  existsSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { purgeUploads } from '../../scripts/uploads/purge.ts';
import type { PurgeOptions } from '../../scripts/uploads/purge-rule.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { Uploads } from '../../workers/uploads/contract.ts';
import { until } from '../support/until.ts';
import { writeTree } from '../uploads/trees.ts';
import { begin, end, makeManager } from './manage-uploads.ts';

const DAYS = 24 * 60;
const NONE = { deleted: 0, bytes: 0, skipped: 0, errors: 0 };
const hex = (digit: string): string => digit.repeat(32);

async function makeGround(overrides: Record<string, unknown> = {}) {
  const manager = await makeManager(overrides);
  const { root, place, store, api } = manager;
  /** What is at the top of the root, or in its mirror, last written so many days ago. */
  const file = (name: string, days: number, content = 'x'): string => {
    writeTree(root, { [name]: content });
    const at = Date.now() / 1000 - days * 86_400;
    utimesSync(join(root, name), at, at);
    return join(root, name);
  };
  const purge = (given: Partial<PurgeOptions> = {}, uploads: Uploads = manager.uploads) =>
    purgeUploads(
      { ...manager, uploads, catalog: store.catalog },
      { ttl_days: 14, stale_uploading_days: 14, dry_run: false, ...given },
    );
  /** A dataset of the catalog that came by an upload. */
  const archived = async (name: string, folder: string, { bundle = 'whole', deleted = false } = {}) => {
    const origin_path = writeTree(join(root, folder), { [`${name}/deep/file`]: name }) + `/${name}`;
    const dataset = { name, type: 'RAW_DATA', origin_path, create_method: 'UPLOAD' as const };
    const [answer] = await store.catalog.register([{ dataset }], 'test');
    if (answer?.outcome !== 'created') throw new Error(`${name} was not registered`);
    const { id } = answer.dataset;
    const archive_path = place.path('data/archive/2026/raw_data', `${name}.tar`);
    if (bundle !== 'missing')
      writeTree(place.path('data/archive/2026/raw_data'), { [`${name}.tar`]: 'tar!' });
    await store.catalog.patch(id, {
      archive_path,
      bundle: {
        name: `${name}.tar`,
        size: bundle === 'cut' ? 9 : 4,
        md5: 'f'.repeat(32),
        digests: {},
        verified_at: null,
      },
      is_deleted: deleted,
    });
    return { id, origin_path };
  };
  return { ...manager, api, file, purge, archived };
}

/** Change times cannot be set back: until all that was made is older than the 20 ms of a purge. */
async function longAgo(): Promise<void> {
  const made = Date.now();
  await until(() => Date.now() > made + 100);
}

/** Every path below, with type, size, bytes and times. */
function snapshot(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .toSorted()
    .map((name) => {
      const stats = lstatSync(join(folder, name));
      const content = stats.isFile() ? readFileSync(join(folder, name), 'base64') : '';
      return `${name} ${stats.mode} ${stats.size} ${stats.mtimeMs} ${stats.ctimeMs} ${content}`;
    });
}

describe('uploads that were never completed', () => {
  /** A purge by which everything is stale that was not touched in the last 20 ms. */
  const STALE = { stale_uploading_days: 0.02 / 86_400 };

  test('are PERMANENTLY_FAILED, and their folder and resumable file go', async () => {
    const { upload, file, purge, status, metadata, root } = await makeGround();
    const { id, origin } = upload(
      'up',
      { 'sub/a': 'a' },
      { status: 'UPLOADING', minutes: 15 * DAYS, process_id: hex('a') },
    );
    const staged = [file(hex('a'), 20), file(`${hex('a')}.json`, 20)];
    await longAgo();
    const { abandoned, removed } = await purge(STALE);
    expect(abandoned).toEqual({ ...NONE, deleted: 1 });
    expect(status(id)).toBe('PERMANENTLY_FAILED');
    expect(metadata(id).failure_reason).toContain('nothing of it has arrived');
    expect([...staged, origin, join(root, 'raw_data', String(id))].filter(existsSync)).toEqual([]);
    expect(existsSync(join(root, 'raw_data'))).toBe(true);
    expect(removed).toEqual([...staged, origin]);
  });

  test('stay while their bytes arrive, or when they were completed meanwhile', async () => {
    const { upload, uploads, purge, status, api } = await makeGround();
    const slow = upload('slow', { a: 'a' }, { status: 'UPLOADING', minutes: 15 * DAYS });
    expect((await purge()).abandoned).toEqual({ ...NONE, skipped: 1 });
    expect(status(slow.id)).toBe('UPLOADING');
    const log: Uploads['log'] = async (id) => {
      Object.assign(api.store.uploads.get(id) ?? {}, { status: 'UPLOADED' });
      return uploads.log(id);
    };
    expect((await purge(STALE, { ...uploads, log })).abandoned).toEqual({ ...NONE, skipped: 1 });
    expect(existsSync(slow.origin)).toBe(true);
    expect(status(slow.id)).toBe('UPLOADED');
  });

  test.each<[string, (ground: { root: string; id: number; origin: string }) => string]>([
    ['elsewhere', ({ root }) => writeTree(join(root, '../source/precious'), { a: 'a' })],
    ['of another dataset', ({ root }) => writeTree(join(root, 'raw_data/999/precious'), { a: 'a' })],
    [
      'that is a link',
      ({ root, id }) => {
        symlinkSync(
          writeTree(join(root, '../source/precious'), { a: 'a' }),
          join(root, 'raw_data', String(id), 'link'),
        );
        return join(root, 'raw_data', String(id), 'link');
      },
    ],
  ])('keep a folder %s, loudly', async (_, make) => {
    const { upload, purge, api, root } = await makeGround();
    const { id, origin } = upload('up', { a: 'a' }, { status: 'UPLOADING', minutes: 15 * DAYS });
    const path = make({ root, id, origin });
    api.store.dataset(id).origin_path = path;
    await longAgo();
    expect((await purge(STALE)).abandoned).toEqual({ ...NONE, errors: 1 });
    expect(existsSync(join(path, 'a'))).toBe(true);
  });

  test('that a killed run has failed and not removed are removed by the next; those that others failed stay', async () => {
    const { upload, purge, metadata } = await makeGround();
    const given = { status: 'PERMANENTLY_FAILED', minutes: 1 };
    const ours = upload('ours', { a: 'a' }, { ...given, metadata: { purged_by: 'purge_stale_uploaded' } });
    const theirs = upload('theirs', { a: 'a' }, given);
    const failed = upload('failed', { a: 'a' }, { status: 'UPLOAD_FAILED' });
    expect((await purge()).abandoned).toEqual({ ...NONE, deleted: 1 });
    expect([ours, theirs, failed].map(({ origin }) => existsSync(origin))).toEqual([false, true, true]);
    expect(metadata(theirs.id)).toEqual({});
  });

  test('that were failed so, and that somebody has taken up again meanwhile, stay', async () => {
    const { upload, uploads, purge, api } = await makeGround();
    const metadata = { purged_by: 'purge_stale_uploaded' };
    const { id, origin } = upload('up', { a: 'a' }, { status: 'PERMANENTLY_FAILED', minutes: 1, metadata });
    const log: Uploads['log'] = async (dataset_id) => {
      Object.assign(api.store.uploads.get(id) ?? {}, { status: 'UPLOADING' });
      return uploads.log(dataset_id);
    };
    expect((await purge({}, { ...uploads, log })).abandoned).toEqual(NONE);
    expect(existsSync(origin)).toBe(true);
  });
});

describe('files of resumable uploads', () => {
  test('go when they are older than their time to live; other names, folders and links never', async () => {
    const { file, purge, root } = await makeGround();
    const old = [file(hex('a'), 15, 'four'), file(`${hex('a')}.json`, 15), file(`${hex('b')}.json`, 15)];
    const kept = [
      file(hex('c'), 13),
      // Written once, when the upload began; what belongs to it still grows.
      file(hex('d'), 1),
      file(`${hex('d')}.json`, 30),
    ];
    const others = [
      file('0'.repeat(31), 99),
      file(hex('A'), 99),
      file(`${hex('a')}.txt`, 99),
      file(`deeper/${hex('a')}`, 99),
    ];
    mkdirSync(join(root, hex('e')));
    symlinkSync(others[0] ?? '', join(root, hex('f')));
    // As old as what goes: else they were kept for their age.
    for (const name of ['e', 'f']) lutimesSync(join(root, hex(name)), 0, 0);
    const { staged_files, removed } = await purge();
    expect(staged_files).toEqual({ deleted: 3, bytes: 6, skipped: 5, errors: 0 });
    expect(old.filter(existsSync)).toEqual([]);
    expect([...kept, ...others].every(existsSync)).toBe(true);
    expect(lstatSync(join(root, hex('e'))).isDirectory()).toBe(true);
    expect(lstatSync(join(root, hex('f'))).isSymbolicLink()).toBe(true);
    expect(removed.toSorted()).toEqual(old.toSorted());
  });
});

describe('notes of what has arrived', () => {
  test('go when their upload is over or unknown, with their folder; those of others stay', async () => {
    const { upload, file, purge, root } = await makeGround();
    const over = ['COMPLETE', 'PERMANENTLY_FAILED', 'UPLOAD_FAILED', 'VERIFICATION_FAILED'];
    const open = ['UPLOADING', 'UPLOADED', 'VERIFYING', 'VERIFIED', 'PROCESSING_FAILED'];
    const note = (status: string): string => {
      const { id } = upload(status.toLowerCase(), { a: 'a' }, { status });
      return file(`uploaded_data/${id}/${hex('a')}.json`, 0, '{}');
    };
    const go = [...over.map(note), file(`uploaded_data/4711/${hex('a')}.json`, 0)];
    const stay = open.map(note);
    const foreign = [file('uploaded_data/4712/readme', 0), file(`uploaded_data/abc/${hex('a')}.json`, 0)];
    symlinkSync(join(root, '..'), join(root, 'uploaded_data/4713'));
    const { mirrors } = await purge();
    expect(mirrors).toEqual({ deleted: 5, bytes: 9, skipped: 5, errors: 0 });
    expect(go.filter((path) => existsSync(join(path, '..')))).toEqual([]);
    expect([...stay, ...foreign].every(existsSync)).toBe(true);
    expect(existsSync(join(root, 'uploaded_data/4713'))).toBe(true);
  });

  test('whose upload cannot be asked for stay, counted as errors, and the others go', async () => {
    const { upload, file, purge, api } = await makeGround();
    const broken = upload('broken', { a: 'a' }, { status: 'COMPLETE' });
    const fine = upload('fine', { a: 'a' }, { status: 'COMPLETE' });
    const [first = '', second = ''] = [broken, fine].map(({ id }) =>
      file(`uploaded_data/${id}/${hex('a')}.json`, 0),
    );
    api.fail('GET datasets/uploads/:id/upload-log', { kind: 'status', status: 500 }, 1);
    expect((await purge()).mirrors).toEqual({ deleted: 1, bytes: 1, skipped: 0, errors: 1 });
    expect([first, second].map(existsSync)).toEqual([true, false]);
  });
});

describe('folders of uploads that are archived', () => {
  test('go, of deleted datasets too, when the archive has the bundle whole; more than a page of them', async () => {
    const { archived, purge, root } = await makeGround();
    const many = [];
    for (let at = 0; at < 205; at++) many.push(await archived(`up-${at}`, `raw_data/${at}`));
    many.push(await archived('gone', 'data_products/900', { deleted: true }));
    const beside = writeTree(join(root, 'raw_data/7/of another'), { a: 'a' });
    expect((await purge()).archived).toEqual({ ...NONE, deleted: 206 });
    expect(many.filter(({ origin_path }) => existsSync(origin_path))).toEqual([]);
    expect(existsSync(join(root, 'raw_data/8'))).toBe(false);
    expect(existsSync(beside)).toBe(true);
    expect((await purge()).archived).toEqual(NONE);
  });

  test('stay when the archive holds no whole bundle, and what lies anywhere else stays without a word', async () => {
    const { archived, purge, place } = await makeGround();
    writeTree(place.path('data/archive'), { '.longshore-archive': '' });
    const kept = [
      await archived('missing', 'raw_data/1', { bundle: 'missing' }),
      await archived('cut', 'raw_data/2', { bundle: 'cut' }),
    ];
    const elsewhere = [
      await archived('source', '../source/raw_data/3'),
      await archived('shallow', 'raw_data'),
      await archived('mirror', 'uploaded_data/4'),
    ];
    // Whose folder it leads to is another dataset.
    const { origin_path: link } = await archived('link', 'raw_data/5');
    rmSync(link, { recursive: true });
    symlinkSync(kept[0]?.origin_path ?? '', link);
    expect((await purge()).archived).toEqual({ ...NONE, skipped: 2 });
    expect([...kept, ...elsewhere].every(({ origin_path }) => existsSync(origin_path))).toBe(true);
  });

  test('go from where the API names the folder after the type, too', async () => {
    const { archived, purge } = await makeGround({
      paths: { RAW_DATA: { upload: '{home}/data/uploads/raw' } },
    });
    const folders = [await archived('ours', 'raw/1'), await archived('theirs', 'raw_data/2')];
    expect((await purge()).archived).toEqual({ ...NONE, deleted: 2 });
    expect(folders.filter(({ origin_path }) => existsSync(origin_path))).toEqual([]);
  });

  test('stay while the archive is not mounted, which is an error and no absence', async () => {
    const { archived, purge } = await makeGround();
    const { origin_path } = await archived('up', 'raw_data/1', { bundle: 'missing' });
    expect((await purge()).archived).toEqual({ ...NONE, errors: 1 });
    expect(existsSync(origin_path)).toBe(true);
  });

  test('stay while any archive of the policy lacks its copy, or a copy was found damaged', async () => {
    const { archived, purge, store, place } = await makeGround({
      archive: {
        copies: ['filesystem', 'mirror'],
        backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
      },
    });
    const { id, origin_path } = await archived('up', 'raw_data/1');
    const { archive_path } = await store.catalog.get(id);
    const key = archive_path as string;
    const at = new Date().toISOString();
    const proof = { dataset_id: id, key, at, level: 'stream', bytes: 4, seconds: 0, actor: 'scrub' } as const;
    const prove = (archive: string, result: 'ok' | 'mismatch') =>
      store.catalog.addProof({ ...proof, archive, result, details: {} });
    const put = (archive: string) =>
      store.catalog.putCopy(id, { archive, key, size: 4, digests: { md5: 'f'.repeat(32) }, stored_at: at });
    await put('filesystem');
    await prove('filesystem', 'ok');
    const kept = { ...NONE, skipped: 1 };
    expect((await purge()).archived).toEqual(kept); // The mirror has none yet.
    writeTree(join(place.path('mirror'), dirname(key)), { [basename(key)]: 'tar!' });
    writeTree(place.path('mirror'), { '.longshore-archive': '' });
    await put('mirror');
    expect((await purge()).archived).toEqual(kept); // Never proven.
    await prove('mirror', 'ok');
    await prove('filesystem', 'mismatch');
    expect((await purge()).archived).toEqual(kept);
    expect(existsSync(origin_path)).toBe(true);
    await prove('filesystem', 'ok');
    expect((await purge()).archived).toEqual({ ...NONE, deleted: 1 });
  });

  test('stay while a workflow works on the dataset, and until what this installation archived was read back', async () => {
    const { archived, purge, engine, records, store } = await makeGround();
    const { id, origin_path } = await archived('up', 'raw_data/1');
    const reading = await engine.start('stage', { dataset_id: id, initiator: 'test' });
    expect((await purge()).archived).toEqual({ ...NONE, skipped: 1 });
    await engine.revoke(reading.id, { actor: 'test' });
    const workflow = await engine.start('archive', { dataset_id: id, initiator: 'test' });
    expect((await purge()).archived).toEqual({ ...NONE, skipped: 1 });
    await end(records, await begin(records, workflow.id), 'broken');
    expect((await purge()).archived).toEqual({ ...NONE, skipped: 1 });
    const { bundle } = await store.catalog.get(id, { bundle: true });
    if (bundle == null) throw new Error('no bundle');
    await store.catalog.patch(id, { bundle: { ...bundle, verified_at: new Date().toISOString() } });
    expect((await purge()).archived).toEqual({ ...NONE, deleted: 1 });
    expect(existsSync(origin_path)).toBe(false);
  });
});

test('a dry run counts what would go and leaves the tree as it is, to the byte and to the time', async () => {
  const { upload, file, archived, purge, root, api, place } = await makeGround();
  upload('stale', { a: 'a' }, { status: 'UPLOADING', minutes: 15 * DAYS, process_id: hex('a') });
  const over = upload('over', { a: 'a' }, { status: 'COMPLETE' });
  file(hex('a'), 20);
  file(hex('b'), 20);
  file(`uploaded_data/${over.id}/${hex('c')}.json`, 0);
  // Nothing is left in it: it would go by itself.
  const emptied = upload('emptied', { a: 'a' }, { status: 'COMPLETE' });
  mkdirSync(join(root, 'uploaded_data', String(emptied.id)), { recursive: true });
  await archived('up', 'data_products/77');
  await longAgo();
  const before = snapshot(place.path('data'));
  const rows = structuredClone([...api.store.uploads.values()]);
  const given = { dry_run: true, stale_uploading_days: 0.02 / 86_400 };
  const { abandoned, staged_files, mirrors, archived: bundles, removed } = await purge(given);
  expect([abandoned, staged_files, mirrors, bundles].map(({ deleted }) => deleted)).toEqual([1, 2, 1, 1]);
  expect(removed.length).toBeGreaterThanOrEqual(5);
  expect(snapshot(place.path('data'))).toEqual(before);
  expect([...api.store.uploads.values()]).toEqual(rows);
  expect(api.calls.every(({ method }) => method === 'GET')).toBe(true);
  expect(root).toContain('uploads');
});

test('a rule that cannot begin does not stop the others; without a root there is nothing to do', async () => {
  const { upload, file, purge, uploads } = await makeGround();
  const { id } = upload('over', { a: 'a' }, { status: 'COMPLETE' });
  file(`uploaded_data/${id}/${hex('c')}.json`, 0);
  const expired: Uploads['expired'] = async () => {
    throw new LongshoreError('E_API_FAILED', 'ill');
  };
  const { abandoned, mirrors } = await purge({}, { ...uploads, expired });
  expect([abandoned.errors, mirrors.deleted]).toEqual([1, 1]);
  const none = await makeGround({
    paths: { RAW_DATA: { upload: '/nonexistent/a' }, DATA_PRODUCT: { upload: '/nonexistent/b' } },
  });
  expect(await none.purge()).toMatchObject({ roots: [], abandoned: NONE, archived: NONE });
  expect(none.api.calls).toEqual([]);
});
