import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { planRecall, runRecall } from '../../scripts/recall/run.ts';
import { type Archive, openArchive } from '../../workers/archive/index.ts';
import { makeOddTree, portrait } from '../content/trees.ts';
import { type Archived, makeArchived } from '../support/archived.ts';
import { runScript, startScript } from '../support/script.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { until } from '../support/until.ts';

const three = (root: string): void => {
  mkdirSync(join(root, 'sub'));
  for (const name of ['a', 'sub/b', 'sub/c']) writeFileSync(join(root, name), `content of ${name}`);
};

const recall = ({ place }: Archived, ...args: string[]) =>
  runScript('longshore.ts', ['recall', 'run_A', ...args], place.env);

const to = ({ place }: Archived): string[] => ['--to', place.path('out')];

const read = ({ place }: Archived, path: string): string => readFileSync(place.path('out', path), 'utf8');

describe('longshore recall', () => {
  test('brings everything back as it was archived', async () => {
    const at = await makeArchived(makeOddTree);
    const done = await recall(at, '.', ...to(at));
    expect(done).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^recalled \d+ members/),
    });
    expect(portrait(at.place.path('out'))).toEqual(portrait(at.source));
    expect(await at.store.records.auditLog({ subject: `dataset:${at.id}` })).toContainEqual(
      expect.objectContaining({ action: 'dataset.recall' }),
    );
  });

  // The root of the file system is one of them; the recall's own folder, its claim and its list of folders come next.
  test.for([1, 2, 3, 4, 6])(
    'a target with room for %i entries is E_NO_SPACE, keeps nothing half made, and takes all when it has room',
    { timeout: 30_000 },
    async (entries, context) => {
      const at = await makeArchived(three);
      const folder = smallFileSystem(at.place.dir('out'), [`nr_inodes=${entries}`]);
      if (folder === null) return context.skip('mounting is not permitted');
      const full = await recall(at, '.', '--to', folder);
      expect(full).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_NO_SPACE: .*\/out/) });
      expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
      spawnSync('mount', ['-o', 'remount,nr_inodes=100', folder]);
      expect(await recall(at, '.', '--to', folder)).toMatchObject({ code: 0 });
      expect(portrait(join(folder, 'sub'))).toEqual(portrait(join(at.source, 'sub')));
    },
  );

  test('says in JSON what came from where', async () => {
    const at = await makeArchived(three);
    const done = await recall(at, 'sub/*', 'a', '--json', ...to(at));
    expect(done.code).toBe(0);
    expect(JSON.parse(done.stdout)).toEqual({
      dataset_id: at.id,
      name: 'run_A',
      to: at.place.path('out'),
      members: 3,
      files: 3,
      bytes: 12 + 16 + 16,
      kept: 0,
      from: [
        expect.objectContaining({
          archive: 'filesystem',
          path: at.bundle(),
          files: 3,
          ranges: 1,
          damaged: 0,
        }),
      ],
      damaged: [],
    });
  });

  test('a dry run tells members, bytes, ranges, archive and space, and changes nothing', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    const done = await recall(at, '.', '--dry-run', ...to(at));
    expect(done.code).toBe(0);
    expect(done.stdout).toMatch(/members +5 \(3 files, 44 B\)/);
    expect(done.stdout).toMatch(/from +filesystem: .*run_A\.tar\nor from +second: /);
    expect(done.stdout).toMatch(/44 B needed, .* free\n.*nothing was changed/);
    const { range_bytes, ...plan } = JSON.parse(
      (await recall(at, 'a', '--dry-run', '--json', ...to(at))).stdout,
    );
    expect(plan).toMatchObject({
      dry_run: true,
      members: 1,
      bytes: 12,
      ranges: 1,
      need: 12,
      fetch_bytes: null,
    });
    expect(range_bytes).toBe(12);
    expect(existsSync(at.place.path('out'))).toBe(false);
  });

  test('existing files are neither overwritten nor fetched again', async () => {
    const at = await makeArchived(three);
    mkdirSync(at.place.path('out'));
    writeFileSync(at.place.path('out/a'), 'mine');
    const done = await recall(at, '.', ...to(at));
    expect(done).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_RECALL: "a" .*\n.*--force/) });
    expect(readdirSync(at.place.path('out'))).toEqual(['a']);
    expect((await recall(at, '.', '--dry-run', ...to(at))).stdout).toMatch(/in the way: a: exists/);
    expect((await recall(at, '.', '--force', ...to(at))).code).toBe(0);
    expect(read(at, 'a')).toBe('content of a');
    unlinkSync(at.place.path('out/sub/b'));
    const again = await recall(at, '.', '--json', ...to(at));
    expect(JSON.parse(again.stdout)).toMatchObject({ kept: 2, from: [{ files: 1 }] });
  });

  test('an unknown path, a path outside and an unknown archive are refused with a way on', async () => {
    const at = await makeArchived(three);
    const typo = await recall(at, 'sub/B2', 'sub/d', ...to(at));
    expect(typo).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no member "sub\/B2", nor 1 more.*\nDid you mean .*"sub\/b"/),
    });
    expect(await recall(at, '../a', ...to(at))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^E_RECALL/),
    });
    expect(await recall(at, 'a', '--archive', 'tape', ...to(at))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^E_RECALL: .*"tape"/),
    });
    expect(existsSync(at.place.path('out'))).toBe(false);
    await at.store.catalog.removeCopy(at.id, 'filesystem');
    await at.store.catalog.patch(at.id, { archive_path: null });
    expect(await recall(at, 'a')).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/^E_NOT_ARCHIVED/),
    });
  });

  test('without a recorded copy the archive path of the dataset is used', async () => {
    const at = await makeArchived(three);
    await at.store.catalog.removeCopy(at.id, 'filesystem');
    expect((await recall(at, 'sub', ...to(at))).code).toBe(0);
    expect(readdirSync(at.place.path('out/sub'))).toEqual(['b', 'c']);
  });
});

describe('damage and outages', () => {
  test('a turned bit: coded, named, in the ledger, and nothing of it is left', async () => {
    const at = await makeArchived(three);
    at.damage('sub/b');
    const done = await recall(at, '.', '--json', ...to(at));
    expect(done.code).toBe(1);
    expect(JSON.parse(done.stdout)).toMatchObject({
      error: {
        code: 'E_BUNDLE_CORRUPT',
        message: expect.stringMatching(/"sub\/b".*archive filesystem/),
        fields: { archive: 'filesystem', member: 'sub/b', missing: 1, damaged: [['filesystem', 'sub/b']] },
      },
    });
    expect(readdirSync(at.place.path('out')).toSorted()).toEqual(['a', 'sub']);
    expect(readdirSync(at.place.path('out/sub'))).toEqual(['c']);
    expect(await at.store.catalog.proofs({ dataset_id: at.id, limit: 10 })).toEqual([
      expect.objectContaining({
        archive: 'filesystem',
        level: 'stream',
        result: 'mismatch',
        details: expect.objectContaining({ by: 'recall', member: 'sub/b', what: 'blake3' }),
      }),
    ]);
  });

  test('the second copy gives what the first does not hold, loudly, and exit code 0 only if all is proven', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    at.damage('sub/b');
    const done = await recall(at, '.', ...to(at));
    expect(done.code).toBe(0);
    expect(done.stderr).toMatch(/archive filesystem: E_BUNDLE_CORRUPT: member "sub\/b"/);
    expect(done.stderr).toMatch(/^DAMAGE: 1 of them/m);
    expect(done.stdout).toMatch(/from filesystem, second$/m);
    expect(portrait(at.place.path('out'))).toEqual(portrait(at.source));
    expect(await at.store.catalog.proofs({ dataset_id: at.id, result: 'mismatch', limit: 10 })).toHaveLength(
      1,
    );
    at.damage('sub/b', 'second');
    rmSync(at.place.path('out'), { recursive: true });
    expect((await recall(at, '.', ...to(at))).code).toBe(1);
  });

  test('each copy may be damaged elsewhere', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    at.damage('a');
    at.damage('sub/c', 'second');
    expect((await recall(at, '.', ...to(at))).code).toBe(0);
    expect(portrait(at.place.path('out'))).toEqual(portrait(at.source));
  });

  test('a copy that was cut short is the last to be read', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    truncateSync(at.bundle(), 3000);
    const done = await recall(at, 'sub', '--json', ...to(at));
    expect(JSON.parse(done.stdout)).toMatchObject({ from: [{ archive: 'second' }] });
    expect(done.stderr).toMatch(/archive filesystem: the bundle has 3000 bytes/);
    expect(await at.store.catalog.proofs({ dataset_id: at.id, limit: 10 })).toMatchObject([
      { archive: 'filesystem', level: 'size', result: 'mismatch' },
    ]);
  });

  test('an unmounted archive is passed over where there is another copy, and else an outage', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    const root = at.place.path('data/archive');
    renameSync(root, at.place.path('unmounted'));
    mkdirSync(root);
    const done = await recall(at, 'a', ...to(at));
    expect(done).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/archive filesystem: E_ARCHIVE_UNAVAILABLE/),
    });
    expect(read(at, 'a')).toBe('content of a');
    await at.store.catalog.removeCopy(at.id, 'second');
    const alone = await recall(at, 'sub', ...to(at));
    expect(alone).toMatchObject({ code: 5, stderr: expect.stringMatching(/^E_ARCHIVE_UNAVAILABLE/m) });
    expect(await at.store.catalog.proofs({ dataset_id: at.id, limit: 10 })).toEqual([]);
  });

  test('a bundle that is gone is a finding about its archive', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    unlinkSync(at.bundle());
    expect((await recall(at, 'a', ...to(at))).code).toBe(0);
    expect(await at.store.catalog.proofs({ dataset_id: at.id, limit: 10 })).toMatchObject([
      { archive: 'filesystem', result: 'missing' },
    ]);
  });

  test('a manifest that was altered is replaced by that of another copy', async () => {
    const at = await makeArchived(three, { others: ['second'] });
    const text = readFileSync(at.manifest(), 'utf8');
    writeFileSync(at.manifest(), text.replace('"size":12', '"size":11'));
    const done = await recall(at, '.', ...to(at));
    expect(done).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/E_BUNDLE_CORRUPT: line \d+ of manifest/),
    });
    expect(portrait(at.place.path('out'))).toEqual(portrait(at.source));
  });

  test('an archive that drops the connection half way is succeeded by the next', async () => {
    const at = await makeArchived((root) => writeFileSync(join(root, 'a'), randomBytes(3_000_000)), {
      others: ['second'],
    });
    const said: string[] = [];
    const parts = {
      config: at.place.config,
      catalog: at.store.catalog,
      listener: { say: (text: string) => void said.push(text) },
      open: (config: typeof at.place.config, name: string): Archive => {
        const archive = openArchive(config, name);
        if (name !== 'filesystem') return archive;
        return {
          ...archive,
          read: async function* (key, options) {
            for await (const chunk of archive.read(key, { ...options, length: 1_000_000 })) yield chunk;
            throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' });
          },
        };
      },
    };
    const dataset = await at.store.catalog.get(at.id, { bundle: true });
    const request = { paths: ['.'], to: at.place.path('out'), force: false, actor: 'test' };
    const outcome = await runRecall(parts, await planRecall(parts, dataset, request));
    expect(outcome).toMatchObject({
      damaged: [],
      from: [
        { archive: 'filesystem', files: 0 },
        { archive: 'second', files: 1 },
      ],
    });
    expect(said).toEqual([expect.stringMatching(/archive filesystem: E_IO: read ECONNRESET/)]);
    expect(portrait(at.place.path('out'))).toEqual(portrait(at.source));
  });

  test('from an archive without ranges the whole bundle is fetched once, which is said before, and removed', async () => {
    const at = await makeArchived(three);
    const said: string[] = [];
    const parts = {
      config: at.place.config,
      catalog: at.store.catalog,
      listener: { say: (text: string) => void said.push(text) },
      open: (config: typeof at.place.config, name: string): Archive => {
        const archive = openArchive(config, name);
        return { ...archive, local: null, capabilities: { ...archive.capabilities, range: false } };
      },
    };
    const dataset = await at.store.catalog.get(at.id, { bundle: true });
    const request = { paths: ['sub/b'], to: at.place.path('out'), force: false, actor: 'test' };
    await runRecall(parts, await planRecall(parts, dataset, request));
    expect(read(at, 'sub/b')).toBe('content of sub/b');
    expect(said).toEqual([expect.stringMatching(/gives no parts: the whole bundle/)]);
    expect(readdirSync(at.place.config.paths.scratch)).toEqual([]);
  });
});

test('an empty folder to put it into is refused, and the current one stays as it is', async () => {
  const at = await makeArchived((root) => writeFileSync(join(root, 'a'), 'x'));
  const done = await recall(at, 'a', '--to', '');
  expect(done).toMatchObject({ code: 2, stderr: expect.stringContaining('Expected a folder') });
});

test('asked for one archive it asks no other', async () => {
  const at = await makeArchived(three, { others: ['second'] });
  unlinkSync(at.bundle());
  const done = await recall(at, 'a', '--archive', 'second', '--json', ...to(at));
  expect(done).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(done.stdout)).toMatchObject({ from: [{ archive: 'second' }] });
  expect((await recall(at, 'sub', '--archive', 'filesystem', ...to(at))).stderr).toMatch(
    /^E_BUNDLE_MISSING/m,
  );
});

test('killed with SIGKILL it leaves no half file, and the next run completes', async () => {
  const at = await makeArchived((root) => {
    three(root);
    writeFileSync(join(root, 'large'), randomBytes(400_000_000));
  });
  const out = at.place.path('out');
  const running = startScript('longshore.ts', ['recall', 'run_A', 'large', 'sub', ...to(at)], at.place.env);
  const partial = (): string | undefined =>
    (existsSync(out) ? readdirSync(out, { recursive: true, encoding: 'utf8' }) : []).find((path) =>
      path.endsWith('/0'),
    );
  await until(
    () => (statSync(join(out, partial() ?? 'none'), { throwIfNoEntry: false })?.size ?? 0) > 1_000_000,
    {
      what: 'the first bytes',
    },
  );
  running.kill('SIGKILL');
  await running.ended;
  const seen = readdirSync(out).filter((name) => !name.startsWith('.'));
  expect(seen).not.toContain('large');
  expect((await recall(at, '.', ...to(at))).code).toBe(0);
  // The folder itself was there already, so it keeps its time.
  const within = (root: string): string[] => portrait(root).filter((line) => !line.startsWith('\td'));
  expect(within(out)).toEqual(within(at.source));
});

test('stopped by a person it removes what is half, and the same command goes on', async () => {
  const at = await makeArchived((root) => writeFileSync(join(root, 'large'), randomBytes(400_000_000)));
  const out = at.place.path('out');
  const running = startScript('longshore.ts', ['recall', 'run_A', '.', ...to(at)], at.place.env);
  await until(() => existsSync(out) && readdirSync(out).some((name) => existsSync(join(out, name, '0'))), {
    what: 'the first file',
  });
  running.kill('SIGINT');
  const { code, stderr } = await running.ended;
  expect({ code, stderr }).toMatchObject({
    code: 130,
    stderr: expect.stringMatching(/^E_REVOKED: .*SIGINT/m),
  });
  expect(readdirSync(out)).toEqual([]);
  expect((await recall(at, '.', ...to(at))).code).toBe(0);
});
