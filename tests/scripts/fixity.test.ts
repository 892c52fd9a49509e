import { cpSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { totalsOf } from '../../scripts/cli/commands/fixity.ts';
import { proveAndRecord, type ProofRequest } from '../../scripts/fixity/prove.ts';
import type { Catalog } from '../../workers/catalog/contract.ts';
import type { BundleCopy, Proof } from '../../workers/dataset/types.ts';
import { createLogger } from '../../workers/log.ts';
import { flip } from '../support/archived.ts';
import { runScript } from '../support/script.ts';
import { BUNDLES, type Entry, makeVault, removeManifest, type Vault } from '../support/vault.ts';
import { tapeInUse } from '../support/tape.ts';
import { fingerprint, makeLanding } from '../tasks/landing.ts';
import { found } from '../tasks/two-archives.ts';

const me = userInfo().username;
const HSI = join(import.meta.dirname, '../fixtures/bin/hsi');
const silent = createLogger('test', {}, { level: 'silent' });

const proofsOf = ({ store }: Vault, { id }: Entry): Promise<Proof[]> =>
  store.catalog.proofs({ dataset_id: id, limit: 100 });

async function stage({ store, place }: Vault, { id, source }: Entry): Promise<string> {
  const tree = place.path('staged');
  cpSync(source, tree, { recursive: true, preserveTimestamps: true });
  await store.catalog.patch(id, { is_staged: true, staged_path: tree });
  return tree;
}

describe('longshore verify', () => {
  test('proves every copy, a line for each, and the ledger has it under the name of who asked', async () => {
    const vault = await makeVault({}, { second: 'vault' });
    const run = await vault.add('run_A', { bytes: 300_000 });
    const before = [fingerprint(vault.place.path(BUNDLES)), fingerprint(vault.place.path('archives'))];
    const done = await vault.longshore('verify', 'run_A');
    expect(done).toMatchObject({ code: 0, stderr: '' });
    const lines = done.stdout.trimEnd().split('\n');
    expect(lines).toEqual([
      expect.stringMatching(/^filesystem: ok, by stream, \d+ KiB in .* \(.*\/s\), \/.*run_A\.tar$/),
      expect.stringMatching(
        /^vault: ok, by stream, \d+ KiB in .* \(.*\/s\), \/.*archives\/vault\/.*run_A\.tar$/,
      ),
    ]);
    expect(await proofsOf(vault, run)).toMatchObject([
      { archive: 'vault', level: 'stream', result: 'ok', actor: me, bytes: run.size },
      { archive: 'filesystem', level: 'stream', result: 'ok', actor: me, bytes: run.size },
    ]);
    const [entry] = await vault.store.records.auditLog({ subject: `dataset:${run.id}`, limit: 1 });
    expect(entry).toMatchObject({ actor: me, action: 'dataset.verify', details: { level: 'stream' } });
    expect([fingerprint(vault.place.path(BUNDLES)), fingerprint(vault.place.path('archives'))]).toEqual(
      before,
    );
  });

  test('a damaged and a missing copy end with E_FIXITY and code 1, with all that differs, also as JSON', async () => {
    const vault = await makeVault({}, { second: 'vault' });
    const run = await vault.add('run_A');
    flip(run.bundle(), 2048);
    unlinkSync(run.bundle('vault'));
    const before = fingerprint(vault.place.path(BUNDLES));
    const done = await vault.longshore('verify', 'run_A');
    expect(done.code).toBe(1);
    expect(done.stdout).toMatch(/^filesystem: mismatch, by stream/);
    expect(done.stdout).toMatch(
      /\n {2}bundle: blake3 is \w{64}, expected \w{64}\n {2}"data\.bin": blake3 is /,
    );
    expect(done.stdout).toMatch(/\nvault: missing, by stream, \/.*run_A\.tar\n$/);
    expect(done.stderr).toMatch(
      /^E_FIXITY: .*run_A.*filesystem: mismatch, vault: missing\n.*longshore fixity/,
    );
    const json = await vault.longshore('verify', 'run_A', '--json');
    expect(json).toMatchObject({ code: 1, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({
      dataset_id: run.id,
      level: 'stream',
      copies: [
        { archive: 'filesystem', result: 'mismatch', details: { num_differences: 2 } },
        { result: 'missing' },
      ],
      staged: null,
      error: { code: 'E_FIXITY' },
    });
    expect((await proofsOf(vault, run)).map(({ result }) => result)).toEqual([
      'missing',
      'mismatch',
      'missing',
      'mismatch',
    ]);
    expect(fingerprint(vault.place.path(BUNDLES))).toBe(before);
  });

  test('the size alone finds what is gone and sees no flipped bit; it is no proof', async () => {
    const vault = await makeVault();
    const run = await vault.add('run_A');
    flip(run.bundle(), 2048);
    expect(await vault.longshore('verify', 'run_A', '--level', 'size')).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('filesystem: ok, by size, /'),
    });
    expect((await vault.store.catalog.copies(run.id))[0]?.verified_at).toBeNull();
    unlinkSync(run.bundle());
    expect((await vault.longshore('verify', 'run_A', '--level', 'size')).code).toBe(1);
  });

  test('an archive that is away ends with code 5, and the other copy is proven all the same', async () => {
    const vault = await makeVault({}, { second: 'vault' });
    await vault.add('run_A');
    vault.unmount();
    const done = await vault.longshore('verify', 'run_A');
    expect(done.code).toBe(5);
    expect(done.stdout).toMatch(/^filesystem: unavailable, .*is not there.*\nvault: ok/);
    expect(done.stderr).toMatch(/^E_ARCHIVE_UNAVAILABLE: .*filesystem: unavailable\n/m);
    vault.mount();
  });

  test('readback reads the staged files too, by the manifest or, without one, by the catalog', async () => {
    const vault = await makeVault();
    const run = await vault.add('run_A');
    const nothing = await vault.longshore('verify', 'run_A', '--level', 'readback', '--json');
    expect(JSON.parse(nothing.stdout)).toMatchObject({ staged: null });
    const tree = await stage(vault, run);
    const good = await vault.longshore('verify', 'run_A', '--level', 'readback');
    expect(good).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/\nstaged: ok, 2 files read again, /),
    });
    flip(join(tree, 'data.bin'), 7);
    const bad = await vault.longshore('verify', 'run_A', '--level', 'readback');
    expect(bad.code).toBe(1);
    expect(bad.stdout).toMatch(/^filesystem: ok.*\nstaged: mismatch.*\n {2}"data\.bin" checksum mismatch\n$/);
    expect(bad.stderr).toMatch(/^E_VALIDATION: the staged copy of dataset 1 \(run_A\) differs in 1 place/m);
    expect((await proofsOf(vault, run))[0]).toMatchObject({ archive: 'filesystem', result: 'ok' });
  });

  test('readback of a dataset without manifest goes by the rows of the catalog', async () => {
    const vault = await makeVault();
    const run = await vault.add('run_A');
    const tree = await stage(vault, run);
    removeManifest(run.bundle());
    const file = (path: string, size: number) => ({
      path,
      type: 'file' as const,
      size,
      md5: null,
      digests: {},
    });
    await vault.store.catalog.putFiles(run.id, [file('data.bin', 2000), file('readme.txt', 12)], 'g');
    writeFileSync(join(tree, 'extra'), '');
    const rows = await vault.longshore('verify', 'run_A', '--level', 'readback', '--json');
    expect(JSON.parse(rows.stdout)).toMatchObject({
      copies: [{ result: 'ok', details: { manifest: false } }],
      staged: { result: 'mismatch', problems: [['extra', 'is not in the catalog']] },
      error: { code: 'E_VALIDATION' },
    });
  });

  test('of several datasets each is proven, whatever was found of those before it', async () => {
    const vault = await makeVault();
    const damaged = await vault.add('run_A');
    const good = await vault.add('run_B');
    truncateSync(damaged.bundle(), damaged.size - 512);
    const done = await vault.longshore('verify', 'run_A', 'nobody', 'run_B');
    expect(done).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^E_FIXITY: [^]*\n2 of 3 failed\n$/),
    });
    expect(done.stdout).toMatch(
      /^dataset \d+ run_A\nfilesystem: mismatch[^]*\ndataset \d+ run_B\nfilesystem: ok/,
    );
    const { stdout } = await vault.longshore('verify', 'run_A', 'run_B', '--level', 'size', '--json');
    expect(JSON.parse(stdout)).toMatchObject({
      datasets: [
        { given: 'run_A', dataset_id: damaged.id, error: { code: 'E_FIXITY' } },
        { given: 'run_B', dataset_id: good.id, copies: [{ result: 'ok' }] },
      ],
    });
  });

  test('a manifest that was there before and is gone is a finding', async () => {
    const vault = await makeVault();
    const run = await vault.add('run_A');
    expect((await vault.longshore('verify', 'run_A')).code).toBe(0);
    removeManifest(run.bundle());
    const done = await vault.longshore('verify', 'run_A');
    expect(done).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_FIXITY: /) });
    expect(done.stdout).toContain('bundle: manifest is missing, expected beside the bundle');
  });

  test('a dataset from before copies were recorded has the one it was archived with', async () => {
    const vault = await makeVault();
    const run = await vault.add('run_A', { recorded: false });
    expect((await vault.longshore('verify', String(run.id))).code).toBe(0);
    expect(await vault.store.catalog.copies(run.id)).toMatchObject([
      { archive: 'filesystem', key: run.key, size: run.size, verified_how: 'stream' },
    ]);
  });

  test('only the named copy; what cannot be verified says why', async () => {
    const vault = await makeVault({}, { second: 'vault' });
    const run = await vault.add('run_A');
    expect((await vault.longshore('verify', 'run_A', '--archive', 'vault')).stdout).toMatch(
      /^vault: ok[^\n]*\n$/,
    );
    expect(await vault.longshore('verify', 'run_A', '--archive', 'tape')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('it has: filesystem, vault'),
    });
    expect((await vault.longshore('verify', 'run_A', '--level', 'deep')).code).toBe(2);
    expect((await vault.longshore('verify', 'nobody')).code).toBe(3);
    const { store } = vault;
    const item = { name: 'new', type: 'RAW_DATA', origin_path: '/new', create_method: 'TEST' as const };
    await store.catalog.register([{ dataset: item }], 'test');
    expect(await vault.longshore('verify', 'new')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('E_NOT_ARCHIVED'),
    });
    await store.catalog.patch(run.id, { is_deleted: true });
    expect(await vault.longshore('verify', String(run.id))).toMatchObject({ code: 4 });
  });
});

describe('a look that goes on for long', () => {
  test('finds nothing about a copy that was stored anew and proven meanwhile, byte for byte the same', async () => {
    const vault = await makeVault();
    const { store, place } = vault;
    const run = await vault.add('run_A');
    const [known] = (await store.catalog.copies(run.id)) as [BundleCopy];
    const { archive, key, size, digests } = known;
    flip(run.bundle(), 2048);
    const storedAnew = async (): Promise<void> => {
      const at = new Date().toISOString();
      await store.catalog.putCopy(run.id, { archive, key, size, digests, stored_at: at });
      const about = { dataset_id: run.id, archive, key, at, actor: 'archive', details: {} };
      await store.catalog.addProof({ ...about, level: 'digest', result: 'ok', bytes: 0, seconds: 0 });
    };
    const catalog: Catalog = {
      ...store.catalog,
      // Asked for between the look and its line in the ledger.
      get: async (id, include) => storedAnew().then(() => store.catalog.get(id, include)),
    };
    const request: ProofRequest = { dataset_id: run.id, copy: known, actor: me, level: 'stream' };
    const session = { config: place.config, store: { ...store, catalog }, log: silent };
    expect(await proveAndRecord(session, request)).toMatchObject({
      result: 'unavailable',
      details: { reason: 'the copy was stored anew or removed meanwhile' },
    });
    expect(await store.catalog.fixity({ failed: true })).toEqual([]);
    // Of the new one it says the truth.
    const again = { ...session, store };
    expect(await proveAndRecord(again, request)).toMatchObject({ result: 'mismatch' });
  });

  test('finds nothing about a copy whose dataset was deleted, by others too', async () => {
    const { store, place, add } = await makeVault();
    const run = await add('run_A');
    const [copy] = (await store.catalog.copies(run.id)) as [BundleCopy];
    unlinkSync(run.bundle());
    await store.catalog.patch(run.id, { is_deleted: true });
    const request: ProofRequest = { dataset_id: run.id, copy, actor: me, level: 'stream' };
    expect(await proveAndRecord({ config: place.config, store, log: silent }, request)).toMatchObject({
      result: 'unavailable',
      details: { reason: 'the dataset was deleted meanwhile' },
    });
  });
});

test('what a reading has found, no digest takes back that the archive only states', async () => {
  const tape = { kind: 'sda', hsi: HSI, hsi_args: ['--stand-in={home}/hpss'], poll_seconds: 1 };
  const landing = await makeLanding(
    { 'data.bin': Buffer.alloc(50_000, 7) },
    { config: { archive: { copies: ['tape'], backends: { tape } } } },
  );
  tapeInUse(landing.place, await landing.dataset());
  await landing.upTo('archive_dataset');
  const key = (await landing.dataset()).archive_path as string;
  const object = landing.place.path('hpss/files', key);
  const verify = (level: string) =>
    runScript('longshore.ts', ['verify', String(landing.id), '--level', level], landing.place.env);
  expect((await verify('digest')).stdout).toMatch(/^tape: ok, by digest/);
  flip(object, 5000);
  expect((await verify('stream')).stdout).toMatch(/^tape: mismatch, by stream/);
  expect((await verify('digest')).stdout).toMatch(/^tape: mismatch, by stream/);
  expect(await landing.store.catalog.fixity({ failed: true })).toHaveLength(1);
  // Another object has another history.
  await landing.run('archive_dataset', { attempt: 2 });
  expect(await landing.store.catalog.fixity({ failed: true })).toEqual([]);
  expect((await verify('digest')).stdout).toMatch(/^tape: ok, by digest/);
  // Also where a kill came between it and its proof.
  const [copy] = await landing.store.catalog.copies(landing.id);
  if (copy === undefined) throw new Error('no copy');
  await found(landing, 'tape', { key });
  const stored_at = new Date(Date.now() + 1).toISOString();
  const { size, digests } = copy;
  await landing.store.catalog.putCopy(landing.id, { archive: 'tape', key, size, digests, stored_at });
  expect((await verify('digest')).stdout).toMatch(/^tape: ok, by digest/);
  writeFileSync(landing.place.path('hpss/control.json'), '{"denied": true}');
  expect(await verify('digest')).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/^E_ARCHIVE_DENIED: .*\n.*Correct them/),
  });
});

describe('longshore fixity', () => {
  const day = (n: number): string => new Date(Date.now() - n * 86_400_000).toISOString();

  async function history() {
    const vault = await makeVault();
    const [fresh, old, damaged] = [
      await vault.add('fresh'),
      await vault.add('old'),
      await vault.add('damaged'),
    ];
    await vault.add('never');
    const say = (entry: Entry, given: Partial<Proof>) =>
      vault.store.catalog.addProof({
        dataset_id: entry.id,
        archive: 'filesystem',
        key: entry.key,
        at: day(0),
        level: 'stream',
        result: 'ok',
        bytes: entry.size,
        seconds: 1,
        actor: 'scrub',
        details: {},
        ...given,
      });
    await say(old, { at: day(200), actor: 'archive', level: 'digest' });
    await say(damaged, { at: day(100) });
    await say(fresh, { at: day(1) });
    const differences = [{ member: 'data.bin', what: 'blake3', expected: 'aa', actual: 'bb' }];
    await say(damaged, { result: 'mismatch', details: { num_differences: 3, differences } });
    await say(damaged, { result: 'unavailable', actor: 'somebody', bytes: 0 });
    return { vault, fresh, old, damaged };
  }

  test('never proven first, then by age; how, by whom, and the totals', async () => {
    const { vault } = await history();
    const done = await vault.longshore('fixity');
    expect(done.code).toBe(0);
    const lines = done.stdout.trimEnd().split('\n');
    expect(lines[1]).toMatch(/never +filesystem .* never +- +- +-/);
    expect(lines[2]).toMatch(/old +filesystem .* 200 d 00 h ago +digest +ok +200 d 00 h ago by archive/);
    expect(lines[3]).toMatch(
      /damaged .* 100 d .* ago +stream +mismatch .* by somebody +"data\.bin": blake3 is bb, expected aa; 3 differences/,
    );
    expect(lines[4]).toMatch(/fresh .* 1 d 00 h ago +stream +ok .* by scrub/);
    expect(lines[5]).toMatch(
      /^4 copies, .*; 25% proven within 90 days; oldest proof 200 d .* ago; 1 never proven$/,
    );
    expect(lines[6]).toBe('1 damaged or missing: npx longshore fixity --failed');
    expect((await vault.longshore('fixity', '--limit', '2')).stdout).toContain(
      '2 of 4 copies, 2 more: --limit N or --all\n',
    );
    const all = await vault.longshore('fixity', '--all', '--json');
    expect((JSON.parse(all.stdout) as { copies: object[] }).copies).toHaveLength(4);
    expect((await vault.longshore('fixity', '--all', '--limit', '2')).code).toBe(2);
  });

  test('as JSON, and only what failed', async () => {
    const { vault, damaged } = await history();
    const all = JSON.parse((await vault.longshore('fixity', '--json')).stdout) as object;
    expect(all).toMatchObject({
      count: 4,
      totals: { copies: 4, never_proven: 1, proven_within: 1, failed: 1, prove_every_days: 90 },
      copies: [
        { name: 'never', age_seconds: null, open: false, last: null },
        {},
        { open: true },
        { open: false },
      ],
    });
    const failed = JSON.parse((await vault.longshore('fixity', '--failed', '--json')).stdout) as object;
    expect(failed).toMatchObject({
      count: 1,
      copies: [{ dataset_id: damaged.id, finding: { result: 'mismatch' } }],
    });
    await vault.store.catalog.removeCopy(damaged.id, 'filesystem');
    expect((await vault.longshore('fixity', '--failed')).stdout).toBe(
      'no copy is known to be damaged or missing\n',
    );
  });

  test('of one dataset: its copies and every line of the ledger, newest first', async () => {
    const { vault, damaged } = await history();
    const { stdout } = await vault.longshore('fixity', 'damaged');
    const lines = stdout.trimEnd().split('\n');
    expect(lines[4]).toMatch(/stream +unavailable +somebody/);
    expect(lines[5]).toMatch(/stream +mismatch +scrub +.*"data\.bin": blake3 is bb/);
    expect(lines[6]).toMatch(/stream +ok +scrub/);
    expect(lines).toHaveLength(7);
    const json = JSON.parse((await vault.longshore('fixity', 'damaged', '--json')).stdout) as object;
    expect(json).toMatchObject({
      dataset_id: damaged.id,
      copies: [{ open: true }],
      lines: [{ result: 'unavailable' }, { result: 'mismatch' }, { result: 'ok' }],
    });
    expect((await vault.longshore('fixity', 'never')).stdout).toContain('the ledger has no line about it');
  });

  test('an open finding stands in the status until the bytes are proven again', async () => {
    const { vault, damaged } = await history();
    const status = await vault.longshore('status');
    expect(status.stdout).toContain(
      'E_FIXITY: archived copies are damaged or missing (damaged in filesystem: mismatch).',
    );
    await vault.longshore('verify', 'damaged', '--level', 'size');
    expect(JSON.parse((await vault.longshore('status', '--json')).stdout)).toMatchObject({
      fixity: { failed: 1 },
    });
    expect((await vault.longshore('verify', 'damaged')).code).toBe(0);
    expect(JSON.parse((await vault.longshore('status', '--json')).stdout)).toMatchObject({
      fixity: { failed: 0 },
    });
    expect((await vault.store.catalog.copies(damaged.id))[0]?.verified_how).toBe('stream');
  });

  test('datasets in fewer archives than the policy asks for are told', async () => {
    const vault = await makeVault();
    const old = await vault.add('old');
    const mirror = { kind: 'filesystem', root: vault.place.path('mirror') };
    vault.reconfigure({ archive: { copies: ['filesystem', 'mirror'], backends: { mirror } } });
    const all = await vault.longshore('fixity');
    expect(all.stdout).toContain('1 in too few archives: npx longshore fixity --lacking');
    const asked = await vault.longshore('fixity', '--lacking', '--json');
    expect(JSON.parse(asked.stdout)).toEqual({
      count: 1,
      datasets: [
        { dataset_id: old.id, name: 'old', type: 'RAW_DATA', has: ['filesystem'], lacks: ['mirror'] },
      ],
    });
    vault.reconfigure({});
    expect((await vault.longshore('fixity', '--lacking')).stdout).toContain('lies in all archives');
  });

  test('without anything archived it says so', async () => {
    const vault = await makeVault();
    expect((await vault.longshore('fixity')).stdout).toBe('no archived copies\n');
    expect(totalsOf([], 90)).toMatchObject({ copies: 0, oldest_proof: null });
  });
});
