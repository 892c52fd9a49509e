import { expect, test } from 'vitest';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { type BundleCopy, openFinding, type Proof } from '../../workers/dataset/types.ts';
import { type OpenStore, openBench, startProcess, times } from '../records/fixture.ts';
import { until } from '../support/until.ts';
import { created } from './contract-datasets.ts';
import { makeRegistration } from './registration.ts';

type StoredCopy = Parameters<Catalog['putCopy']>[1];

const copyIn = (archive: string, given: Partial<StoredCopy> = {}): StoredCopy => ({
  archive,
  key: '/archive/2026/raw_data/set.tar',
  size: 2 ** 40 + 1,
  digests: { blake3: 'ab'.repeat(32) },
  stored_at: '2026-01-01T00:00:00.000Z',
  ...given,
});

const unproven = (copy: StoredCopy, finding: Proof | null = null): BundleCopy => ({
  ...copy,
  verified_at: null,
  verified_how: null,
  finding,
});

const proofOf = (dataset_id: number, archive: string, given: Partial<Proof> = {}): Proof => ({
  dataset_id,
  archive,
  key: '/archive/2026/raw_data/set.tar',
  at: '2026-02-01T00:00:00.000Z',
  level: 'stream',
  result: 'ok',
  bytes: 2 ** 40 + 1,
  seconds: 12.5,
  actor: 'scrub',
  details: {},
  ...given,
});

/** Copies of bundles, and the ledger of what was proven about them. */
export function copyBattery(open: OpenStore): void {
  const begin = async (names: readonly string[] = ['set']) => {
    const bench = await openBench(open);
    const outcomes = await bench.catalog.register(
      names.map((name) => makeRegistration({ name })),
      'x',
    );
    const ids = outcomes.map((outcome) => created(outcome).id);
    return { ...bench, ids, id: ids[0] as number };
  };

  test('a copy of a dataset that is not there is refused as every call about it', async () => {
    const { catalog } = await begin();
    await expect(catalog.putCopy(987_654, copyIn('tape'))).rejects.toMatchObject({
      code: 'E_DATASET_NOT_FOUND',
    });
  });

  test('copies are kept by archive, replaced by the next one there, and listed by its name', async () => {
    const { catalog, id, again } = await begin();
    expect(await catalog.copies(id)).toEqual([]);
    await catalog.putCopy(id, copyIn('tape', { digests: { md5: 'x', blake3: 'y' } }));
    await catalog.putCopy(id, copyIn('disk'));
    await catalog.putCopy(id, copyIn('tape', { size: 7, key: 'other "key"\n' }));
    const both = [unproven(copyIn('disk')), unproven(copyIn('tape', { size: 7, key: 'other "key"\n' }))];
    expect(await catalog.copies(id)).toEqual(both);
    expect(await (await again()).catalog.copies(id)).toEqual(both);
    expect(await catalog.removeCopy(id, 'tape')).toBe(true);
    expect(await catalog.removeCopy(id, 'tape')).toBe(false);
    expect(await catalog.copies(id)).toEqual([unproven(copyIn('disk'))]);
  });

  test('a copy belongs to a dataset, and to no other', async () => {
    const { catalog, ids } = await begin(['one', 'two']);
    const [one, two] = ids as [number, number];
    await catalog.putCopy(one, copyIn('disk', { size: 1 }));
    await catalog.putCopy(two, copyIn('disk', { size: 2 }));
    expect(await catalog.removeCopy(one, 'disk')).toBe(true);
    expect(await catalog.copies(two)).toEqual([unproven(copyIn('disk', { size: 2 }))]);
    await expect(catalog.putCopy(4711, copyIn('disk'))).rejects.toThrow();
  });

  test('a proof that holds dates the copy; what failed, or looked at the size alone, does not', async () => {
    const { catalog, id } = await begin();
    await catalog.putCopy(id, copyIn('disk'));
    await catalog.putCopy(id, copyIn('tape'));
    for (const given of [
      { level: 'size' },
      { result: 'mismatch' },
      { result: 'missing' },
      { result: 'unavailable' },
      { key: 'where it was before' },
    ] as const)
      await catalog.addProof(proofOf(id, 'disk', given));
    const missing = proofOf(id, 'disk', { result: 'missing' });
    expect(await catalog.copies(id)).toEqual([unproven(copyIn('disk'), missing), unproven(copyIn('tape'))]);
    const held = proofOf(id, 'disk', { level: 'digest', at: '2026-03-01T00:00:00.000Z' });
    await catalog.addProof(held);
    expect(await catalog.copies(id)).toEqual([
      { ...copyIn('disk'), verified_at: held.at, verified_how: 'digest', finding: held },
      unproven(copyIn('tape')),
    ]);
    const found = proofOf(id, 'disk', { result: 'mismatch', at: '2026-04-01T00:00:00.000Z' });
    await catalog.addProof(found);
    await catalog.addProof(proofOf(id, 'disk', { level: 'size', at: '2026-05-01T00:00:00.000Z' }));
    const [copy] = await catalog.copies(id);
    expect(copy).toMatchObject({ verified_at: held.at, finding: found });
    expect(copy === undefined ? null : openFinding(copy)).toEqual(found);
    expect(copy === undefined ? null : openFinding({ finding: held })).toBeNull();
  });

  test('the same copy put again keeps its proof; one with another key, digest or time of storing has to be proven anew', async () => {
    const { catalog, id } = await begin();
    const proven = async () => (await catalog.copies(id))[0]?.verified_at;
    await catalog.putCopy(id, copyIn('disk'));
    const stored_at = '2026-02-02T00:00:00.000Z';
    for (const change of [
      { stored_at },
      { key: 'elsewhere' },
      { key: 'elsewhere', digests: { blake3: 'cd'.repeat(32) } },
    ]) {
      const { key } = (await catalog.copies(id))[0] as BundleCopy;
      await catalog.addProof(proofOf(id, 'disk', { key }));
      expect(await proven()).toBe('2026-02-01T00:00:00.000Z');
      await catalog.putCopy(id, { ...((await catalog.copies(id))[0] as BundleCopy) });
      expect(await proven()).toBe('2026-02-01T00:00:00.000Z');
      await catalog.putCopy(id, copyIn('disk', change));
      expect(await proven()).toBeNull();
    }
  });

  test('the longest unproven come first, those never proven before all, those of deleted datasets never', async () => {
    const { catalog, ids } = await begin(['a', 'b', 'c', 'gone']);
    const [a, b, c, gone] = ids as [number, number, number, number];
    for (const id of ids) await catalog.putCopy(id, copyIn('disk'));
    await catalog.putCopy(a, copyIn('tape', { stored_at: '2025-01-01T00:00:00.000Z' }));
    await catalog.addProof(proofOf(a, 'disk', { at: '2026-03-01T00:00:00.000Z' }));
    await catalog.addProof(proofOf(b, 'disk', { at: '2026-02-01T00:00:00.000Z' }));
    await catalog.patch(gone, { is_deleted: true });
    const order = async (limit: number) =>
      (await catalog.leastProven(limit)).map(({ dataset_id, archive }) => [dataset_id, archive]);
    const all = [
      [a, 'tape'],
      [c, 'disk'],
      [b, 'disk'],
      [a, 'disk'],
    ];
    expect(await order(10)).toEqual(all);
    expect(await order(2)).toEqual(all.slice(0, 2));
  });

  test('a copy that was looked at and failed gives way to the others; an outage and a look at its size do not count', async () => {
    const { catalog, ids } = await begin(['damaged', 'away', 'slow', 'looked at', 'good']);
    const [damaged, away, slow, looked, good] = ids as [number, number, number, number, number];
    for (const id of ids) await catalog.putCopy(id, copyIn('disk'));
    await catalog.addProof(proofOf(good, 'disk', { at: '2026-02-01T00:00:00.000Z' }));
    const later = { at: '2026-03-01T00:00:00.000Z' };
    await catalog.addProof(proofOf(damaged, 'disk', { ...later, result: 'mismatch' }));
    await catalog.addProof(proofOf(away, 'disk', { ...later, result: 'unavailable', bytes: 0 }));
    await catalog.addProof(proofOf(looked, 'disk', { ...later, level: 'size', bytes: 0 }));
    // It broke off after a terabyte: were it first again the next night, no other copy would ever be read.
    await catalog.addProof(proofOf(slow, 'disk', { ...later, result: 'unavailable' }));
    const order = async () =>
      (await catalog.leastProven(10)).map(({ dataset_id, looked_at }) => [dataset_id, looked_at]);
    expect(await order()).toEqual([
      [away, null],
      [looked, null],
      [good, '2026-02-01T00:00:00.000Z'],
      [damaged, later.at],
      [slow, later.at],
    ]);
    // Stored anew, it has to be read anew.
    await catalog.putCopy(damaged, copyIn('disk', { stored_at: '2026-03-02T00:00:00.000Z' }));
    expect((await order()).at(2)).toEqual([damaged, null]);
  });

  test('the ledger keeps every line, newest first, also of datasets and copies that are gone', async () => {
    const { catalog, ids } = await begin(['one', 'two']);
    const [one, two] = ids as [number, number];
    await catalog.putCopy(one, copyIn('disk'));
    const lines = [
      proofOf(one, 'disk'),
      proofOf(two, 'disk', { result: 'missing', level: 'size', bytes: 0, seconds: 0.001 }),
      proofOf(one, 'disk', { result: 'mismatch', details: { differences: [{ member: 'ü\n"', what: 'x' }] } }),
      proofOf(one, 'tape', { result: 'unavailable', actor: 'someone' }),
    ];
    for (const line of lines) await catalog.addProof(line);
    await catalog.removeCopy(one, 'disk');
    await catalog.patch(one, { is_deleted: true });
    const [ok, missing, mismatch, unavailable] = lines;
    expect(await catalog.proofs({ limit: 10 })).toEqual([unavailable, mismatch, missing, ok]);
    expect(await catalog.proofs({ limit: 2 })).toEqual([unavailable, mismatch]);
    expect(await catalog.proofs({ dataset_id: one, limit: 10 })).toEqual([unavailable, mismatch, ok]);
    expect(await catalog.proofs({ result: 'missing', limit: 10 })).toEqual([missing]);
    expect(await catalog.proofs({ dataset_id: one, result: 'missing', limit: 10 })).toEqual([]);
  });

  test('fixity tells of each copy what was found last, and what is open', async () => {
    const { catalog, ids } = await begin(['fine', 'damaged', 'restored', 'fresh']);
    const [fine, damaged, restored, fresh] = ids as [number, number, number, number];
    for (const id of ids) await catalog.putCopy(id, copyIn('disk'));
    await catalog.addProof(proofOf(fine, 'disk', { at: '2026-02-02T00:00:00.000Z' }));
    await catalog.addProof(proofOf(damaged, 'disk', { at: '2026-02-01T00:00:00.000Z' }));
    const mismatch = proofOf(damaged, 'disk', { result: 'mismatch', at: '2026-02-03T00:00:00.000Z' });
    await catalog.addProof(mismatch);
    // Neither that the object has its size, nor that the archive was away, says that its bytes are right again.
    const size = proofOf(damaged, 'disk', { level: 'size', at: '2026-02-04T00:00:00.000Z' });
    await catalog.addProof(size);
    await catalog.addProof(proofOf(restored, 'disk', { result: 'missing' }));
    await catalog.addProof(proofOf(restored, 'disk', { level: 'digest', at: '2026-02-05T00:00:00.000Z' }));
    const rows = await catalog.fixity({});
    expect(rows.map((row) => [row.name, row.finding?.result ?? null, row.last?.at ?? null])).toEqual([
      ['fresh', null, null],
      ['damaged', 'mismatch', '2026-02-04T00:00:00.000Z'],
      ['fine', 'ok', '2026-02-02T00:00:00.000Z'],
      ['restored', 'ok', '2026-02-05T00:00:00.000Z'],
    ]);
    expect(rows[1]).toEqual({
      ...copyIn('disk'),
      verified_at: '2026-02-01T00:00:00.000Z',
      verified_how: 'stream',
      dataset_id: damaged,
      name: 'damaged',
      type: 'RAW_DATA',
      finding: mismatch,
      last: size,
    });
    expect(await catalog.fixity({ limit: 2 })).toEqual(rows.slice(0, 2));
    const held = await catalog.holdings();
    expect(held.map(({ name, verified_at }) => [name, verified_at])).toEqual(
      rows.map(({ name, verified_at }) => [name, verified_at]),
    );
    expect(held[1]).toEqual({
      dataset_id: damaged,
      name: 'damaged',
      type: 'RAW_DATA',
      archive: 'disk',
      size: copyIn('disk').size,
      verified_at: '2026-02-01T00:00:00.000Z',
    });
    expect((await catalog.fixity({ failed: true })).map((row) => row.name)).toEqual(['damaged']);
    expect(await catalog.fixity({ failed: true, limit: 0 })).toEqual([]);
    expect((await catalog.fixity({ dataset_id: fresh })).map(({ name }) => name)).toEqual(['fresh']);
    await catalog.patch(damaged, { is_deleted: true });
    expect(await catalog.fixity({ failed: true })).toEqual([]);
    expect(await catalog.fixity({ dataset_id: damaged })).toEqual([]);
    expect((await catalog.holdings()).map((row) => row.name)).toEqual(['fresh', 'fine', 'restored']);
  });

  test('archived datasets from before copies were recorded are found', async () => {
    const { catalog, ids } = await begin(['old', 'new', 'not archived', 'without a bundle', 'deleted']);
    const [old, recorded, , bare, deleted] = ids as [number, number, number, number, number];
    const bundle = { name: 'set.tar', size: 1, md5: null, digests: {}, verified_at: null };
    for (const id of [old, recorded, deleted])
      await catalog.patch(id, { archive_path: `/archive/${id}.tar`, bundle });
    await catalog.patch(bare, { archive_path: '/archive/bare.tar' });
    await catalog.putCopy(recorded, copyIn('disk'));
    await catalog.patch(deleted, { is_deleted: true });
    expect(await catalog.withoutCopies(10)).toEqual([old]);
    expect(await catalog.withoutCopies(0)).toEqual([]);
  });

  test('a finding that comes in while its copy is recorded anew is not lost', async () => {
    const { catalog, id, again } = await begin();
    const prover = await again();
    await catalog.putCopy(id, copyIn('disk'));
    for (let turn = 0; turn < 25; turn += 1) {
      const at = new Date(Date.UTC(2026, 2, 1, 0, turn)).toISOString();
      const found = proofOf(id, 'disk', { at, result: 'mismatch' });
      // Later and later in what the other one does.
      const late = new Promise((resolve) => setTimeout(resolve, turn % 12)).then(() =>
        prover.catalog.addProof(found),
      );
      await Promise.all([catalog.putCopy(id, copyIn('disk', { stored_at: at })), late]);
      expect((await catalog.copies(id))[0]?.finding).toEqual(found);
    }
  });

  test('processes that record and prove at once lose no copy and no line', async () => {
    const { catalog, ids, place } = await begin(['one', 'two', 'three']);
    const names = ['disk', 'tape', 'cloud', 'vault'];
    const turns = times(open, 25);
    const writers = names.map((name) =>
      startProcess(place, 'copies', name, String(turns), ...ids.map(String)),
    );
    expect(await Promise.all(writers.map(({ ended }) => ended))).toEqual(names.map(() => 0));
    for (const id of ids) {
      const copies = await catalog.copies(id);
      expect(copies.map(({ archive }) => archive)).toEqual(names.toSorted());
      expect(copies.every(({ verified_how }) => verified_how === 'stream')).toBe(true);
      const lines = await catalog.proofs({ dataset_id: id, limit: 1000 });
      expect(lines).toHaveLength(4 * turns);
      for (const name of names) {
        const own = lines.filter(({ archive }) => archive === name).map(({ details }) => details.turn);
        expect(own).toEqual(Array.from({ length: turns }, (_, turn) => turns - 1 - turn));
      }
    }
  });

  test.each([1, 2, 3])(
    'kill -9 of a prover keeps what it had said, and dates no copy without its line (%i)',
    async () => {
      const { catalog, id, place } = await begin();
      const prover = startProcess(place, 'copies', 'disk', 'until killed', String(id));
      await until(() => prover.lines.length >= 20);
      prover.child.kill('SIGKILL');
      await prover.ended;
      const told = prover.lines.length;
      const lines = await catalog.proofs({ dataset_id: id, limit: 1_000_000 });
      expect(lines.length).toBeGreaterThanOrEqual(told);
      const [copy] = await catalog.copies(id);
      const proven = lines[0]?.at ?? '';
      // Killed between the two, it was stored anew and not proven yet.
      expect(copy?.verified_at).toBe((copy?.stored_at ?? '') > proven ? null : proven);
      await catalog.addProof(proofOf(id, 'disk', { key: 'key', at: '2030-01-01T00:00:00.000Z' }));
      expect((await catalog.copies(id))[0]?.verified_at).toBe('2030-01-01T00:00:00.000Z');
    },
  );
}
