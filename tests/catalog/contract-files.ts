import { expect, test } from 'vitest';
import type { FileRow } from '../../workers/dataset/types.ts';
import { type OpenStore, openBench, startProcess, times } from '../records/fixture.ts';
import { until } from '../support/until.ts';
import { created } from './contract-datasets.ts';
import { MILLION, type MillionReport } from './million.ts';
import { makeRegistration } from './registration.ts';

const row = (path: string, given: Partial<FileRow> = {}): FileRow => ({
  path,
  type: 'file',
  size: 1,
  md5: null,
  digests: { blake3: 'ab'.repeat(32) },
  ...given,
});

/** File rows: upserted by path, swept by generation, paged by path. */
export function fileBattery(open: OpenStore): void {
  test('inspecting again replaces what changed and sweeps what is gone', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    await catalog.putFiles(id, [row('a', { md5: 'old' }), row('b'), row('c/ü "x"\n')], 'first');
    await catalog.putFiles(
      id,
      [row('a', { md5: 'new', size: 9 }), row('d', { type: 'symbolic link', digests: {} })],
      'second',
    );
    expect(await catalog.countFiles(id)).toBe(4);
    expect(await catalog.sweepFiles(id, 'second')).toBe(2);
    expect(await catalog.files(id, { limit: 10 })).toEqual([
      row('a', { md5: 'new', size: 9 }),
      row('d', { type: 'symbolic link', digests: {} }),
    ]);
    expect(await catalog.sweepFiles(id, 'second')).toBe(0);
    expect(await catalog.sweepFiles(id, 'nothing was found')).toBe(2);
  });

  test('what was seen of a file is kept with it, and rows are found by their paths', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const seen = row('a', { fingerprint: '1:2:3' });
    await catalog.putFiles(id, [seen, row('b'), row('c/ü "x"\n')], 'first');
    expect(await catalog.filesAt(id, ['a', 'c/ü "x"\n', 'absent'])).toEqual([seen, row('c/ü "x"\n')]);
    await catalog.putFiles(id, [row('a')], 'second');
    expect(await catalog.filesAt(id, ['a'])).toEqual([row('a')]);
  });

  test('more rows than are written at once are all there, each in one page', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const all = Array.from({ length: 1_001 }, (_, n) => row(`f${String(n).padStart(4, '0')}`));
    await catalog.putFiles(id, all, 'first');
    const seen: FileRow[] = [];
    for (let after = ''; seen.length < all.length; after = seen.at(-1)?.path ?? '')
      seen.push(...(await catalog.files(id, { after, limit: 600 })));
    expect(seen).toEqual(all);
    expect(await catalog.files(id, { after: 'f1000', limit: 600 })).toEqual([]);
  });

  test('rows of one dataset do not touch those of another', async () => {
    const { catalog } = await openBench(open);
    // Among them numbers that begin with the digits of another one.
    const items = Array.from({ length: 12 }, (_, n) => makeRegistration({ name: `set-${n}` }));
    const ids = (await catalog.register(items, 'x')).map((outcome) => created(outcome).id);
    const [first = 0, second = 0, ...others] = ids;
    for (const id of ids) await catalog.putFiles(id, [row('same', { size: id })], 'g');
    for (const id of [first, second]) expect(await catalog.sweepFiles(id, 'h')).toBe(1);
    for (const id of [first, second]) expect(await catalog.countFiles(id)).toBe(0);
    for (const id of others)
      expect((await catalog.files(id, { limit: 9 })).map(({ size }) => size)).toEqual([id]);
  });

  test('a path or size that cannot be kept exactly is refused', async () => {
    const { catalog } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    await expect(catalog.putFiles(id, [row('bad\uDC80')], 'g')).rejects.toMatchObject({
      code: 'E_NAME_UNSAFE',
    });
    await expect(catalog.putFiles(id, [row('big', { size: 2 ** 53 })], 'g')).rejects.toMatchObject({
      code: 'E_VALUE',
    });
    expect(await catalog.countFiles(id)).toBe(0);
  });

  test('a million rows go in fast, come back in order and are swept, under a heap of 64 MiB', async ({
    skip,
  }) => {
    if (open.slow === true) skip('this server reads all rows for each page; set MONGODB_URL to a MongoDB');
    const { catalog, place } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const inspector = startProcess(place, 'million-files', String(id));
    expect(await inspector.ended).toBe(0);
    const report = inspector.lines[0] as MillionReport;
    console.info(JSON.stringify(report));
    expect(report).toMatchObject({ seen: MILLION, sum: (MILLION * (MILLION - 1)) / 2, swept: MILLION - 1 });
    expect(report.peak_rss_mib).toBeLessThan(300);
    // 40,000 are promised of a quiet machine (125,000 measured); here all other tests share the cores.
    expect(report.rows_per_second).toBeGreaterThan(4_000);
    expect(await catalog.countFiles(id)).toBe(1);
  }, 900_000);

  test('a writer of file rows lets others write meanwhile', async () => {
    const { catalog, place } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const writer = startProcess(place, 'files-until-killed', String(id), String(times(open, 5_000, 0.02)));
    await until(() => writer.lines.length > 0);
    let longest = 0;
    for (let n = 0; n < times(open, 50); n++) {
      const start = performance.now();
      await catalog.addState(id, 'READY', { n });
      longest = Math.max(longest, performance.now() - start);
    }
    expect(longest).toBeLessThan(5_000);
    expect(await catalog.states(id)).toHaveLength(times(open, 50) + 1);
  });

  test.each([1, 2, 3])('kill -9 of a writer leaves whole batches and a usable catalog (%i)', async () => {
    const { catalog, place } = await openBench(open);
    const { id } = created((await catalog.register([makeRegistration()], 'x'))[0]);
    const writer = startProcess(place, 'files-until-killed', String(id), String(times(open, 5_000, 0.02)));
    await until(() => writer.lines.length >= 2);
    writer.child.kill('SIGKILL');
    await writer.ended;
    // Batches are transactions: the turn that was interrupted has replaced a first part of the rows, or none.
    const sizes = (await catalog.files(id, { limit: 10_000 })).map(({ size }) => size);
    expect(sizes).toHaveLength(times(open, 5_000, 0.02));
    const last = writer.lines.at(-1) as number;
    const changes = sizes.filter((size, n) => n > 0 && size !== sizes[n - 1]).length;
    expect(changes).toBeLessThanOrEqual(1);
    expect(sizes.every((size) => size >= last && size <= last + 1)).toBe(true);
    await catalog.putFiles(id, [row('f000000', { size: 77 })], 'after');
    expect((await catalog.files(id, { limit: 1 }))[0]?.size).toBe(77);
  });

  test.for([1, 2, 3])(
    'kill -9 of a registrar leaves every dataset with its workflow (%i)',
    async (_, { skip }) => {
      const { catalog, records, place } = await openBench(open);
      // Where dataset and workflow are written apart, the next scan repairs it: see tests/catalog/rest-registration.test.ts.
      if (!catalog.capabilities.atomicRegistration) return skip();
      const watcher = startProcess(place, 'register-until-killed');
      await until(() => watcher.lines.length >= 20);
      watcher.child.kill('SIGKILL');
      await watcher.ended;
      const { count, datasets } = await catalog.list({});
      expect(count).toBeGreaterThanOrEqual(watcher.lines.length);
      for (const { id } of datasets) {
        const dataset = await catalog.get(id, { states: true, workflows: true });
        expect(dataset.states?.map(({ state }) => state)).toEqual(['REGISTERED']);
        expect(dataset.workflows).toHaveLength(1);
        expect(await records.auditLog({ subject: `dataset:${id}` })).toHaveLength(1);
      }
      expect((await records.listWorkflows({})).total).toBe(count);
    },
  );
}
