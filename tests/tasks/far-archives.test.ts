/** The whole way of a dataset through archives that are not folders of this host. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openArchive } from '../../workers/archive/index.ts';
import { manifestKey } from '../../workers/archive/contract.ts';
import { gather } from '../support/gather.ts';
import { startHttpProxy } from '../support/http-proxy.ts';
import { hasRclone } from '../support/rclone.ts';
import { until } from '../support/until.ts';
import { backEndOf, type S3Server, startS3Server } from '../support/s3.ts';
import { fingerprint, type Landing, makeLanding } from './landing.ts';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.stop());

const RUN_TASK = join(import.meta.dirname, '../fixtures/run-task.ts');
const HSI = join(import.meta.dirname, '../fixtures/bin/hsi');
const MB = 1024 * 1024;

const files = {
  'a.txt': 'alpha',
  empty: '',
  'big.bin': randomBytes(14 * MB + 5),
  'sub/reads': randomBytes(70_000),
  'sub/link': { link: 'reads' },
  bare: null,
};

const tape = { kind: 'sda', hsi: HSI, hsi_args: ['--stand-in={home}/hpss'], poll_seconds: 1 };
const disk = { kind: 'rclone', remote: 'disk:bundles', config_file: '{home}/rclone.conf' };

async function landIn(name: string, backends: Record<string, unknown>, copies = [name]): Promise<Landing> {
  const landing = await makeLanding(files, {
    config: { archive: { copies, backends }, stage: { alias_salt: name } },
    name: `run_${name}_${randomBytes(4).toString('hex')}`, // The S3 server is shared.
  });
  writeFileSync(
    landing.place.path('rclone.conf'),
    `[disk]\ntype = alias\nremote = ${landing.place.path('remote')}\n`,
  );
  return landing;
}

/** Archived, staged, proven; nothing left on the way; archived again without a transfer; deleted. */
async function goesThrough(landing: Landing, name: string): Promise<void> {
  await landing.upTo('setup_dataset_download');
  const { archive_path, staged_path, bundle } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  const generated = landing.place.path('data/bundle/raw_data/generation');
  expect(existsSync(generated) ? readdirSync(generated) : []).toEqual([]);
  const scratch = landing.place.path('data/scratch');
  expect(existsSync(scratch) ? readdirSync(scratch) : []).toEqual([]);
  const key = archive_path as string;
  const archive = openArchive(landing.place.config, name);
  expect((await archive.stat(key))?.size).toBe(bundle?.size);
  expect((await archive.stat(manifestKey(key)))?.size).toBeGreaterThan(0);
  const copies = await landing.store.catalog.copies(landing.id);
  expect(copies.find((copy) => copy.archive === name)).toMatchObject({
    key,
    size: bundle?.size,
    verified_how: expect.stringMatching(/stream|digest/),
  });
  const modified = (await archive.stat(key))?.modified;
  await landing.run('archive_dataset', { attempt: 2 });
  expect((await archive.stat(key))?.modified).toEqual(modified);
  await landing.run('delete_dataset');
  expect(await archive.stat(key)).toBeNull();
  expect(await archive.stat(manifestKey(key))).toBeNull();
  expect(await gather(archive.list(key.slice(0, key.lastIndexOf('/') + 1)))).toEqual([]);
}

test('on tape', async () => goesThrough(await landIn('tape', { tape }), 'tape'));

test('a bundle comes after its manifest, and before it where it takes the place of another', async () => {
  const landing = await landIn('order', { order: tape });
  const moved = (): string[] =>
    readFileSync(landing.place.path('hpss/calls.ndjson'), 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('"mv '))
      .map((line) => (line.includes('.tar.manifest.ndjson') ? 'manifest' : 'bundle'));
  await landing.upTo('archive_dataset');
  expect(moved()).toEqual(['manifest', 'bundle']);
  writeFileSync(join(landing.origin, 'a.txt'), 'ALPHA');
  await landing.run('archive_dataset', { attempt: 2 });
  expect(moved()).toEqual(['manifest', 'bundle', 'bundle', 'manifest']);
});

test('a tape that hsi does not reach is not deleted from: the record stays with the bundle', async () => {
  const landing = await landIn('lost', { lost: tape });
  await landing.upTo('archive_dataset');
  const key = (await landing.dataset()).archive_path as string;
  const control = (how: string): void => writeFileSync(landing.place.path('hpss/control.json'), how);
  for (const [how, code] of [
    ['keytab', 'E_ARCHIVE_DENIED'],
    ['unknown_host', 'E_ARCHIVE_UNAVAILABLE'],
    ['wrapper_missing', 'E_ARCHIVE_UNAVAILABLE'],
  ] as const) {
    control(`{"${how}": true}`);
    expect(await landing.fails('delete_dataset'), how).toMatchObject({ code });
    expect(await landing.store.catalog.copies(landing.id), how).toHaveLength(1);
  }
  control('{}');
  expect(await openArchive(landing.place.config, 'lost').stat(key)).not.toBeNull();
});

test('what fails on its way to tape is not packed again, while it is to be tried again or waits for the archive; in the end nothing stays', async () => {
  const landing = await makeLanding(
    { 'big.bin': randomBytes(40 * MB) },
    { config: { archive: { copies: ['tape'], backends: { tape }, checkpoint_bytes: 4 * MB } } },
  );
  await landing.run('inspect_dataset');
  const halves = (): string[] => readdirSync(landing.place.path('data/bundle/raw_data/generation'));
  const writes = (): number => Number(/wchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]) / MB;
  mkdirSync(landing.place.path('hpss'), { recursive: true });
  writeFileSync(landing.place.path('hpss/control.json'), '{"fail": "put"}');
  const before = writes();
  const error = await landing.fails('archive_dataset', { retries_left: 1 });
  expect(error.class).toBe('retryable');
  expect(writes() - before).toBeGreaterThan(40); // Counted, as what follows is.
  expect(halves()).not.toEqual([]);

  writeFileSync(landing.place.path('hpss/control.json'), '{}');
  const again = writes();
  await landing.run('archive_dataset', { attempt: 2 });
  expect(writes() - again).toBeLessThan(60); // The transfer and what came after the last mark; packing makes it 80.
  expect(halves()).toEqual([]);

  const other = await makeLanding(
    { 'big.bin': randomBytes(MB) },
    { config: { archive: { copies: ['tape'], backends: { tape } } } },
  );
  await other.run('inspect_dataset');
  mkdirSync(other.place.path('hpss'), { recursive: true });
  writeFileSync(other.place.path('hpss/control.json'), '{"fail": "put"}');
  const halfOf = (): string[] => readdirSync(other.place.path('data/bundle/raw_data/generation'));
  await other.fails('archive_dataset', { retries_left: 0, waits_for_archive: true });
  expect(halfOf()).not.toEqual([]);
  await other.fails('archive_dataset', { attempt: 2, retries_left: 0 });
  expect(halfOf()).toEqual([]);
});

test('a transfer to staging that goes wrong once is repeated, and is no finding; twice it is one', async () => {
  const mirror = { kind: 'filesystem', root: '{home}/mirror' };
  const landing = await landIn('twice', { tape, mirror }, ['tape', 'mirror']);
  await landing.upTo('archive_dataset');
  const control = (how: object): void =>
    writeFileSync(landing.place.path('hpss/control.json'), JSON.stringify(how));
  const calls = landing.place.path('hpss/calls.ndjson');
  writeFileSync(calls, '');
  control({ truncate: 'get', slow_ms: 500 });
  const staged = landing.run('stage_dataset');
  await until(() => readFileSync(calls, 'utf8').includes('"get '));
  control({});
  await staged;
  const found = async () =>
    (await landing.store.catalog.proofs({ dataset_id: landing.id, limit: 10 }))
      .filter(({ actor }) => actor === 'stage')
      .map(({ archive, result }) => `${archive} ${result}`);
  expect(await found()).toEqual(['tape ok']);
  control({ truncate: 'get' });
  await landing.run('stage_dataset', { workflow_id: 'workflow-2', task_id: 'task-0002' });
  expect(await found()).toEqual(['mirror ok', 'tape mismatch', 'tape ok']);
});

test('in S3, streamed as it is packed, without a file of it here', async () => {
  const proxy = await startHttpProxy(server.url);
  const s3 = backEndOf(server, proxy, { prefix: `${randomBytes(4).toString('hex')}/` });
  await goesThrough(await landIn('s3', { s3 }), 's3');
});

test('a bundle in S3 whose manifest did not follow, since its attempt ended, is packed again', async () => {
  const proxy = await startHttpProxy(server.url);
  const s3 = backEndOf(server, proxy, { prefix: `${randomBytes(4).toString('hex')}/` });
  const landing = await landIn('s3', { s3 });
  const isManifest = (url: string): boolean => url.includes('.manifest.ndjson');
  proxy.faults = [
    {
      when: ({ method, url }) => method === 'PUT' && isManifest(url),
      how: { status: 403, code: 'AccessDenied' },
    },
  ];
  await landing.run('inspect_dataset');
  await landing.fails('archive_dataset');
  const archive = openArchive(landing.place.config, 's3');
  const key = (await landing.dataset()).metadata.archive_target as string;
  expect(await archive.stat(key)).not.toBeNull();
  expect(await archive.stat(manifestKey(key))).toBeNull();
  proxy.faults = [];
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await archive.stat(manifestKey(key))).not.toBeNull();
});

test('the staged bundle may be left out; tape then fetches to a file that does not stay', async () => {
  const landing = await makeLanding(files, {
    config: { archive: { copies: ['tape'], backends: { tape } }, stage: { keep_bundle: false } },
  });
  await landing.upTo('validate_dataset');
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  const stage = landing.place.path('data/staged/raw_data');
  expect(
    readdirSync(stage, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.tar')),
  ).toEqual([]);
});

test('on tape and in S3: packed once, archived when both are proven; each may be away', async () => {
  const proxy = await startHttpProxy(server.url);
  const s3 = backEndOf(server, proxy, { prefix: `${randomBytes(4).toString('hex')}/` });
  const landing = await landIn('both', { tape, s3 }, ['tape', 's3']);
  await landing.run('inspect_dataset');
  await proxy.takeAway();
  expect((await landing.fails('archive_dataset')).code).toBe('E_ARCHIVE_UNAVAILABLE');
  expect(await landing.states()).toEqual(['REGISTERED']);
  await proxy.bringBack();
  await landing.run('archive_dataset', { attempt: 2 });
  const proven = (await landing.store.catalog.copies(landing.id)).map(({ archive, verified_how }) => [
    archive,
    verified_how,
  ]);
  expect(proven).toEqual([
    ['s3', 'stream'],
    ['tape', 'digest'],
  ]);
  writeFileSync(landing.place.path('hpss/control.json'), '{"away": true}');
  await landing.run('stage_dataset');
  await landing.run('validate_dataset');
  const { staged_path } = await landing.dataset();
  expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
  expect((await landing.fails('delete_dataset')).code).toBe('E_ARCHIVE_UNAVAILABLE');
  writeFileSync(landing.place.path('hpss/control.json'), '{}');
  await landing.run('delete_dataset', { attempt: 2 });
  expect(await landing.store.catalog.copies(landing.id)).toEqual([]);
});

describe.skipIf(!hasRclone())('with rclone', () => {
  test('behind a remote of rclone, streamed as it is packed', async () =>
    goesThrough(await landIn('disk', { disk }), 'disk'));
});

test('the manifest of a streamed archiving that was killed goes with the next one, of whatever task', async ({
  skip,
}) => {
  if (!hasRclone()) skip('NOT TESTED: no rclone');
  const landing = await landIn('disk', { disk: { ...disk, rclone: '{home}/rclone' } });
  const { place } = landing;
  const stuck = place.path('stuck');
  const stops = `case "$*" in *rcat*.tar*) [ -e '${stuck}' ] && exec sleep 1000;; esac`;
  writeFileSync(place.path('rclone'), `#!/bin/sh\n${stops}\nexec rclone "$@"\n`, { mode: 0o755 });
  writeFileSync(stuck, '');
  await landing.run('inspect_dataset');
  const child = spawn(process.execPath, [RUN_TASK, 'archive_dataset', String(landing.id), 'dead0001', '1'], {
    env: { ...process.env, ...place.env },
    stdio: 'ignore',
    detached: true,
  });
  const closed = once(child, 'close');
  const scratch = (): string[] =>
    existsSync(place.path('data/scratch')) ? readdirSync(place.path('data/scratch')) : [];
  await until(() => scratch().some((name) => name.endsWith('.ndjson')), { what: 'a manifest' });
  process.kill(-(child.pid as number), 'SIGKILL');
  await closed;
  rmSync(stuck);
  await landing.run('archive_dataset', { task_id: 'live0001', attempt: 2 });
  expect(scratch()).toEqual([]);
});
