import { describe, expect, onTestFinished, test } from 'vitest';
import { Budget, costOf, dueOf, levelOf } from '../../scripts/fixity/rotation.ts';
import type { Archive } from '../../workers/archive/contract.ts';
import { createLogger } from '../../workers/log.ts';
import { connectRedis } from '../../workers/queue/connection.ts';
import { holderOf } from '../../workers/queue/script-lock.ts';
import { until } from '../support/until.ts';
import { BUNDLES, makeVault } from '../support/vault.ts';
import { fingerprint } from '../tasks/landing.ts';
import { always, fixity, NOTHING_BUT_PROGRESS, outcomes, reportOf } from './scrub.ts';

const silent = createLogger('test', {}, { level: 'silent' });

describe('a run of the scrub', () => {
  test('proves every copy that is due, says so in the ledger, and changes nothing in the archives', async () => {
    const vault = await makeVault(fixity({}), { second: 'vault' });
    const { store, place, scrub } = vault;
    const [a, b] = [await vault.add('a', { bytes: 600_000 }), await vault.add('b')];
    const before = [fingerprint(place.path(BUNDLES)), fingerprint(place.path('archives'))];
    const first = await scrub('--json');
    expect(first).toMatchObject({ code: 0, stderr: NOTHING_BUT_PROGRESS });
    expect(outcomes(first).toSorted()).toEqual([
      'a filesystem ok',
      'a vault ok',
      'b filesystem ok',
      'b vault ok',
    ]);
    expect(reportOf(first)).toMatchObject({ bytes: 2 * (a.size + b.size), left: 0, away: 0, adopted: 0 });
    const [line] = await store.catalog.proofs({ dataset_id: a.id, limit: 1 });
    expect(line).toMatchObject({ level: 'stream', result: 'ok', bytes: a.size, actor: 'scrub' });
    for (const { id } of [a, b])
      for (const copy of await store.catalog.copies(id)) expect(copy.verified_how).toBe('stream');
    const second = await scrub();
    expect(second.stdout).toBe('0 looked at, 0 B read\n');
    expect(await store.catalog.proofs({ limit: 10 })).toHaveLength(4);
    expect([fingerprint(place.path(BUNDLES)), fingerprint(place.path('archives'))]).toEqual(before);
  });

  test('keeps to its budget, and several runs reach everything', async () => {
    const vault = await makeVault(fixity(always));
    const sizes = new Map<string, number>();
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      sizes.set(name, (await vault.add(name, { bytes: 50_000 })).size);
    const size = sizes.get('a') ?? 0;
    const run = async (budget: number) => {
      const done = await vault.scrub('--json', '--max-bytes', String(budget));
      expect(done.code).toBe(0);
      return outcomes(done).map((text) => text[0]);
    };
    expect(await run(2 * size + 1)).toEqual(['a', 'b']);
    expect(await run(1)).toEqual(['c']); // Larger than the whole budget: the first may always.
    expect(await run(3 * size - 1)).toEqual(['d', 'e']);
    expect(await run(2 * size)).toEqual(['a', 'b']);
    const report = reportOf(await vault.scrub('--json', '--max-bytes', '1', '--dry-run'));
    expect(report).toMatchObject({ bytes: size, left: 4, copies: [{ name: 'c', result: 'due' }] });
  });

  test('a dry run says what would be read, and writes nothing', async () => {
    const vault = await makeVault(fixity({}));
    const { size } = await vault.add('a');
    await vault.add('from before', { recorded: false });
    const done = await vault.scrub('--dry-run');
    expect(done.code).toBe(0);
    expect(done.stdout).toMatch(/a +filesystem .* never +stream +due/);
    expect(done.stdout).toMatch(
      /1 would be looked at.*nothing was changed.*1 copy from before would be recorded/,
    );
    expect(reportOf(await vault.scrub('--dry-run', '--json')).bytes).toBe(size);
    expect(await vault.store.catalog.proofs({ limit: 1 })).toEqual([]);
    expect(await vault.store.catalog.withoutCopies(9)).toHaveLength(1);
  });

  test('datasets from before copies were recorded are not left out', async () => {
    const vault = await makeVault(fixity({}));
    const old = await vault.add('old', { recorded: false });
    const done = await vault.scrub('--json');
    expect(reportOf(done)).toMatchObject({ adopted: 1, copies: [{ name: 'old', result: 'ok' }] });
    expect(await vault.store.catalog.copies(old.id)).toMatchObject([
      { archive: 'filesystem', key: old.key, size: old.size, verified_how: 'stream' },
    ]);
  });

  test('two at once: the second is left out', async () => {
    const vault = await makeVault(fixity({ max_bytes_per_second: 1000 }));
    await vault.add('slow', { bytes: 600_000 });
    const running = vault.startScrub();
    await until(() => running.stderr().includes('slow in filesystem'), { what: 'the first run at work' });
    const busy = await vault.scrub();
    expect(busy.code).toBe(75);
    running.kill('SIGTERM');
    expect(busy.stdout).toBe('');
    const stopped = await running.ended;
    expect(stopped).toMatchObject({ code: 130, stderr: expect.stringContaining('E_REVOKED') });
    expect(await vault.store.catalog.proofs({ limit: 9 })).toEqual([]);
    vault.reconfigure(fixity({}));
    expect((await vault.scrub()).code).toBe(0); // A stop in good order leaves no lock.
  });

  test('killed midway, what was proven stays proven and the next run does the rest', async () => {
    const vault = await makeVault(fixity({ max_bytes_per_second: 100_000 }));
    const { store, place } = vault;
    const quick = await vault.add('quick', { bytes: 1000 });
    const slow = await vault.add('slow', { bytes: 3_000_000 });
    const before = fingerprint(place.path(BUNDLES));
    const running = vault.startScrub();
    await until(async () => (await store.catalog.proofs({ limit: 9 })).length === 1, {
      what: 'the first line',
    });
    await until(() => running.stderr().includes('slow in filesystem'), { what: 'the second copy' });
    running.kill('SIGKILL');
    await running.ended;
    expect((await store.catalog.proofs({ limit: 9 })).map(({ dataset_id }) => dataset_id)).toEqual([
      quick.id,
    ]);
    expect((await store.catalog.copies(slow.id))[0]?.verified_at).toBeNull();
    vault.reconfigure(fixity({}));
    // The lock of the dead run ends by itself.
    expect((await vault.scrub('--json')).code).toBe(75);
    const redis = await connectRedis(place.config, { log: silent });
    onTestFinished(() => redis.disconnect());
    await until(async () => (await holderOf(place.config, redis, 'scrub')) === null, {
      what: 'the lock to end',
    });
    const next = await vault.scrub('--json');
    expect(outcomes(next)).toEqual(['slow filesystem ok']);
    expect(fingerprint(place.path(BUNDLES))).toBe(before);
  });
});

describe('the rotation', () => {
  const archive = (name: string, capabilities: Partial<Archive['capabilities']> = {}): Archive =>
    ({
      name,
      capabilities: { stream: true, range: true, resume: true, digest: null, ...capabilities },
    }) as Archive;

  test('a copy is due when it was never looked at, or not for so many days', () => {
    const now = Date.parse('2026-04-01T00:00:00.000Z');
    const looks = [null, '2026-01-01T00:00:00.000Z', '2026-03-01T23:59:59.999Z', '2026-03-02T00:00:00.001Z'];
    const due = dueOf(
      looks.map((looked_at) => ({ looked_at })),
      30,
      now,
    );
    expect(due.map(({ looked_at }) => looked_at)).toEqual(looks.slice(0, 3));
    expect(dueOf([], 30, now)).toEqual([]);
  });

  test('the level is that of the archive, else of its kind, else tape is not read', async () => {
    const { place } = await makeVault({}, { second: 'vault' });
    const { fixity: own } = place.config;
    const config = {
      ...place.config,
      fixity: { ...own, levels: { ...own.levels, vault: 'digest' as const } },
    };
    expect(levelOf(config, archive('filesystem'))).toBe('stream');
    expect(levelOf(config, archive('vault'))).toBe('digest');
    expect(levelOf(config, archive('unnamed', { range: false }))).toBe('digest');
    const tape = { ...config, archive: { ...config.archive, backends: { hpss: { kind: 'sda' } } } };
    expect(levelOf(tape as unknown as typeof config, archive('hpss'))).toBe('digest');
  });

  test('a stated digest costs nothing; one that is not recorded has to be computed', () => {
    const tape = archive('hpss', { digest: 'md5' });
    expect(costOf({ size: 9, digests: { md5: 'x' } }, 'digest', tape)).toBe(0);
    expect(costOf({ size: 9, digests: { blake3: 'x' } }, 'digest', tape)).toBe(9);
    expect(costOf({ size: 9, digests: { md5: 'x' } }, 'stream', tape)).toBe(9);
    expect(costOf({ size: 9, digests: { md5: 'x' } }, 'digest', archive('disk'))).toBe(9);
  });

  test('a budget is never exceeded but by the first', () => {
    const budget = new Budget(10);
    expect(budget.allows(100)).toBe(true);
    budget.spend(0);
    expect(budget.allows(100)).toBe(true);
    budget.spend(6);
    expect([budget.allows(4), budget.allows(5), budget.allows(0)]).toEqual([true, false, true]);
    budget.spend(4);
    expect([budget.allows(1), budget.spent]).toEqual([false, 10]);
  });
});
