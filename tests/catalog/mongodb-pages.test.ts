import { expect, onTestFinished, test } from 'vitest';
import { openStore } from '../../workers/store.ts';
import { referenceDatabase } from '../mongodb/reference.ts';
import { describeMongodb, mongoPlace } from '../support/mongodb.ts';

const COPIED = 520;
const ARCHIVED = 540;
const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

describeMongodb('more datasets and copies than are looked up at once', () => {
  test('each copy is told once, and what has none is found behind what has one', async () => {
    const place = await mongoPlace();
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    const { catalog } = store;
    const db = referenceDatabase(place.config);
    const bundle = { name: 'set.tar', size: 1, md5: null, digests: {}, verified_at: null };
    await db.collection<{ _id: number }>('longshore_datasets').insertMany(
      numbers(1, ARCHIVED).map((_id) => ({
        _id,
        name: `set-${_id}`,
        name_key: `RAW_DATA/set-${_id}`,
        type: 'RAW_DATA',
        is_deleted: false,
        archive_path: `/archive/${_id}.tar`,
        bundle,
      })),
    );
    const never = { verified_at: null, verified_how: null, finding: null, last: null, line: null };
    await db.collection<{ _id: string }>('longshore_copies').insertMany(
      numbers(1, COPIED).map((dataset_id) => ({
        _id: `${dataset_id}/disk`,
        dataset_id,
        archive: 'disk',
        key: `${dataset_id}.tar`,
        size: 1,
        digests: {},
        stored_at: '2026-01-01T00:00:00.000Z',
        failed_at: '',
        looked_at: '',
        ...never,
      })),
    );
    const idsOf = (rows: readonly { dataset_id: number }[]) => rows.map(({ dataset_id }) => dataset_id);
    expect(idsOf(await catalog.holdings())).toEqual(numbers(1, COPIED));
    expect(idsOf(await catalog.fixity({}))).toEqual(numbers(1, COPIED));
    expect(idsOf(await catalog.leastProven(510))).toEqual(numbers(1, 510));
    expect(await catalog.withoutCopies(10)).toEqual(numbers(COPIED + 1, COPIED + 10));
    expect(await catalog.withoutCopies(1_000)).toEqual(numbers(COPIED + 1, ARCHIVED));
  });
});
