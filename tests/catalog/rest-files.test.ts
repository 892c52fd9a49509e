import { describe, expect, onTestFinished, test } from 'vitest';
import type { CatalogWait } from '../../workers/catalog/contract.ts';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
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
  others: Record<string, unknown> = {},
): Promise<{ double: BioloopApi; id: number } & Store> {
  const double = await startBioloopApi();
  const place = await makePlace({ ...restOverrides(double, more), ...others });
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  const id = created((await store.catalog.register([{ dataset: makeRegistration().dataset }], 'x'))[0]).id;
  return { double, id, ...store };
}

const filesOf = (double: BioloopApi, id: number) =>
  [...double.store.dataset(id).files.values()].filter(({ filetype }) => filetype !== 'directory');

describe('file rows behind the API', () => {
  test('60,000 rows are three posts, and every row is there before the step ends, though the API writes late', async () => {
    const { double, catalog, id } = await begin({ delay_scale: 0.005 });
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

  test('a batch is sent when the one before is written, so that the API has one at work', async () => {
    const { double, catalog, id } = await begin({}, { inspect: { file_metadata_batch_size: 10 } });
    double.behaviour.filesDelay = 5;
    await catalog.putFiles(id, rows(20), 'first');
    await catalog.putFiles(
      id,
      Array.from({ length: 15 }, (_, n) => row(20 + n)),
      'first',
    );
    await catalog.sweepFiles(id, 'first');
    const order = double.exchanges
      .filter(({ call }) => call.path.endsWith('/files'))
      .filter(({ status }) => status === 200)
      .map(({ call }) => call.method)
      // It is looked for until it is there.
      .filter((method, at, all) => method !== all[at - 1]);
    expect(order).toEqual(['POST', 'GET', 'POST', 'GET', 'POST', 'GET', 'POST', 'GET']);
    expect(filesOf(double, id)).toHaveLength(35);
  });

  test('an API that cannot be asked for a path gets the next batch all the same', async () => {
    const { double, catalog, id } = await begin({}, { inspect: { file_metadata_batch_size: 10 } });
    const long = `${'ä'.repeat(2_000)}/`;
    double.fail(`GET datasets/${id}/files`, { kind: 'status', status: 414 }, 3);
    await catalog.putFiles(
      id,
      Array.from({ length: 25 }, (_, n) => row(n, { path: `${long}${n}` })),
      'first',
    );
    await catalog.sweepFiles(id, 'first');
    expect(filesOf(double, id)).toHaveLength(25);
  });

  test('what an outage kept from the API is sent as soon as it answers', async () => {
    const { double, catalog, id } = await begin();
    double.fail('', { kind: 'status', status: 503 });
    await catalog.putFiles(id, rows(30), 'first');
    const waits: CatalogWait[] = [];
    const ended = catalog.sweepFiles(id, 'first', (wait) => waits.push(wait));
    await until(() => waits.length > 0, { what: 'the step to wait' });
    double.heal();
    await ended;
    expect(filesOf(double, id)).toHaveLength(30);
    const looks = double.exchanges.filter(({ call }) => call.query.has('files'));
    expect(looks).toHaveLength(2);
  });

  test('an API that may have been stopped between the rows and their place in its tree gets all once more', async () => {
    const { double, catalog, id } = await begin({}, { inspect: { file_metadata_batch_size: 10 } });
    await catalog.putFiles(id, rows(25), 'first');
    double.fail('GET datasets/:id', { kind: 'drop' }, 20);
    await catalog.sweepFiles(id, 'first');
    const sent = double.called('POST datasets/:id/files').flatMap(({ body }) => body as { path: string }[]);
    const bySent = [...Map.groupBy(sent, ({ path }) => path).values()];
    expect(bySent.map((all) => all.length)).toEqual(Array.from({ length: 25 }, () => 2));
  });

  test('an API that was stopped there and is back before anybody looks gets all once more', async () => {
    const { double, catalog, id } = await begin();
    double.store.diesBeforeLinking = 1;
    await catalog.putFiles(id, rows(25), 'first');
    await catalog.sweepFiles(id, 'first');
    expect(double.store.filesBelow(id, 'lane_3')).toHaveLength(3);
    expect(double.called('POST datasets/:id/files')).toHaveLength(2);
  });

  test('rows that come slowly are waited for, and not sent again', async () => {
    const { double, catalog, id } = await begin({ delay_scale: 0.02 });
    double.behaviour.filesDelay = null;
    await catalog.putFiles(id, rows(12), 'first');
    const ended = catalog.sweepFiles(id, 'first');
    for (let n = 0; n < 12; n++) {
      const looks = double.called('GET datasets/:id').length;
      await until(() => double.called('GET datasets/:id').length > looks, { what: 'another look' });
      double.store.addFiles(id, [{ ...row(n) }]);
    }
    await ended;
    expect(double.called('POST datasets/:id/files')).toHaveLength(1);
  });

  test('a step tells what it waits for, and goes on before its time when somebody else has had an answer', async () => {
    const { double, catalog, id } = await begin({ delay_scale: 0.05 });
    const { spool } = catalog as RestCatalog;
    await catalog.putFiles(id, rows(3), 'first');
    double.fail('', { kind: 'status', status: 503 });
    const waits: CatalogWait[] = [];
    const ended = catalog.sweepFiles(id, 'first', (wait) => waits.push(wait));
    await until(() => waits.length === 3, { what: 'the step to wait for longer and longer' });
    expect(waits[0]).toMatchObject({
      waits: expect.stringMatching(/^waits for the API since \d{4}-.* answered 503/),
      code: 'E_API_UNAVAILABLE',
    });
    double.heal();
    const answered = async (): Promise<boolean> => {
      await catalog.get(id);
      return (await spool.health()).failures === 0;
    };
    await until(answered, { what: 'an answer of the API' });
    await ended;
    expect(waits).toHaveLength(3);
    expect(Date.now()).toBeLessThan(Date.parse(waits[2]?.next_attempt_at ?? ''));
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
