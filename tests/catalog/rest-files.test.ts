import { describe, expect, onTestFinished, test } from 'vitest';
import type { FileRow } from '../../workers/dataset/types.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { type BioloopApi, type Fault, startBioloopApi } from '../support/bioloop-api.ts';
import { makePlace } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { until } from '../support/until.ts';
import { created } from './contract-datasets.ts';
import { makeRegistration } from './registration.ts';

const row = (n: number, given: Partial<FileRow> = {}): FileRow => ({
  path: `lane_${n % 8}/file_${String(n).padStart(6, '0')}`,
  type: 'file',
  size: n,
  md5: n.toString(16).padStart(32, '0'),
  digests: { md5: n.toString(16).padStart(32, '0') },
  ...given,
});
const rows = (count: number): FileRow[] => Array.from({ length: count }, (_, n) => row(n));

async function begin(
  more: Record<string, unknown> = {},
): Promise<{ double: BioloopApi; id: number } & Store> {
  const double = await startBioloopApi();
  const place = await makePlace(restOverrides(double, more));
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const id = created((await store.catalog.register([{ dataset: makeRegistration().dataset }], 'x'))[0]).id;
  return { double, id, ...store };
}

const filesOf = (double: BioloopApi, id: number) =>
  [...double.store.dataset(id).files.values()].filter(({ filetype }) => filetype !== 'directory');

describe('file rows behind the API', () => {
  test('60,000 rows are three posts, and every row is there before the step ends, though the API writes late', async () => {
    const { double, catalog, id } = await begin({ delay_scale: 0.05 });
    const written = Promise.withResolvers<void>();
    double.behaviour.filesDelay = written.promise;
    await catalog.putFiles(id, rows(60_000), 'first');
    const looks = (): number => double.called('GET datasets/:id').length;
    const before = looks();
    const ended = catalog.sweepFiles(id, 'first');
    // It has looked, found none of them, and looks again.
    await until(() => looks() >= before + 2, { what: 'the API to be asked for the rows again' });
    written.resolve();
    await ended;
    const posts = double.called('POST datasets/:id/files').map(({ body }) => body as unknown[]);
    expect(posts.map((batch) => batch.length)).toEqual([25_000, 25_000, 10_000]);
    expect(posts[0]?.[7]).toEqual({ path: 'lane_7/file_000007', md5: row(7).md5, size: '7', type: 'file' });
    expect(filesOf(double, id)).toHaveLength(60_000);
    expect(await catalog.countFiles(id)).toBe(60_000);
  });

  test('rows that the API took and lost are sent again', async () => {
    const { double, catalog, id } = await begin();
    double.behaviour.filesDelay = null;
    await catalog.putFiles(id, rows(100), 'first');
    double.behaviour.filesDelay = 1;
    await catalog.sweepFiles(id, 'first');
    expect(filesOf(double, id)).toHaveLength(100);
  });

  test('an API that never writes them fails the step by name', async () => {
    const { double, catalog, id } = await begin({ patience_seconds: 0 });
    double.behaviour.filesDelay = null;
    await catalog.putFiles(id, rows(3), 'first');
    await expect(catalog.sweepFiles(id, 'first')).rejects.toMatchObject({
      code: 'E_API_FILES',
      class: 'retryable',
      fields: { expected: 3, there: 0 },
    });
  });

  test.each([
    { kind: 'status', status: 503 },
    { kind: 'html' },
    { kind: 'commit-then-drop' },
    { kind: 'status', status: 500 },
  ] as Fault[])(
    '%o: the step waits in its place, and the rows are complete when it goes on',
    async (fault) => {
      const { double, catalog, id } = await begin();
      double.fail('', fault, 12);
      await catalog.putFiles(id, rows(500), 'first');
      await catalog.sweepFiles(id, 'first');
      expect(filesOf(double, id)).toHaveLength(500);
    },
  );

  test('batches stay below the 50 MB that the API reads, however long the names are', async () => {
    const { double, catalog, id } = await begin();
    const long = Array.from({ length: 4_000 }, (_, n) => row(n, { path: `${'é"\\'.repeat(1_000)}/${n}` }));
    await catalog.putFiles(id, long, 'first');
    await catalog.sweepFiles(id, 'first');
    expect(filesOf(double, id)).toHaveLength(4_000);
    expect(double.called('POST datasets/:id/files').length).toBeGreaterThan(1);
  });

  test('rows of an earlier inspection, which the API can neither change nor remove, are counted and told', async () => {
    const { double, catalog, id } = await begin();
    await catalog.putFiles(id, rows(5), 'first');
    await catalog.sweepFiles(id, 'first');
    const changed = row(1, { md5: 'f'.repeat(32), digests: { md5: 'f'.repeat(32) } });
    await catalog.putFiles(id, [row(0), changed, row(2)], 'second');
    expect(await catalog.sweepFiles(id, 'second')).toBe(2);
    expect(double.store.dataset(id).metadata).toMatchObject({ file_rows_outdated: 3 });
    // What validates reads the companion, which has the new ones.
    expect((await catalog.files(id, { limit: 10 })).map(({ md5 }) => md5)).toEqual([
      row(0).md5,
      'f'.repeat(32),
      row(2).md5,
    ]);
    double.store.dataset(id).files.clear();
    await catalog.putFiles(id, [row(0), changed, row(2)], 'third');
    await catalog.sweepFiles(id, 'third');
    expect(double.store.dataset(id).metadata).toMatchObject({ file_rows_outdated: 0 });
  });
});
