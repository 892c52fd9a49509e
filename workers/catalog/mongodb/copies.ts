/** The copies of bundles, with what the ledger says of them (ledger.ts). */
import type { BundleCopy, StoredCopy } from '../../dataset/types.ts';
import { change } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { longOf } from '../../mongodb/values.ts';
import { toJson } from '../../sqlite/values.ts';
import type { Catalog, CopyCatalog, CopyFixity } from '../contract.ts';
import { datasetsOf, readDataset } from './documents.ts';
import {
  addProof,
  bringIn,
  copiesOf,
  type CopyRecord,
  idOf,
  linesOf,
  NOTHING_TOLD,
  proofs,
  toldAnew,
} from './ledger.ts';

const LEAST_PROVEN_FIRST = { verified_at: 1, stored_at: 1, dataset_id: 1, archive: 1 } as const;

export function copyCatalog(mongo: Mongo): CopyCatalog {
  return {
    putCopy: async (id, copy) => {
      await readDataset(mongo, id);
      await bringIn(mongo);
      await putCopy(mongo, id, copy);
    },
    copies: async (id) => {
      await bringIn(mongo);
      const found = await mongo.run(() =>
        copiesOf(mongo).find({ dataset_id: id }).sort({ archive: 1 }).toArray(),
      );
      return found.map(copyOf);
    },
    removeCopy: async (id, archive) => {
      const { deletedCount } = await mongo.run(() => copiesOf(mongo).deleteOne({ _id: idOf(id, archive) }));
      return deletedCount === 1;
    },
    leastProven: async (limit) => {
      await bringIn(mongo);
      const found = await ofAlive(
        mongo,
        {},
        { looked_at: 1, stored_at: 1, dataset_id: 1, archive: 1 },
        limit,
      );
      return found.map(({ record }) => ({
        ...copyOf(record),
        dataset_id: record.dataset_id,
        looked_at: record.looked_at || null,
      }));
    },
    withoutCopies: (limit) => withoutCopies(mongo, limit),
    fixity: (query) => fixityOf(mongo, query),
    holdings: async () => {
      await bringIn(mongo);
      const found = await ofAlive(mongo, {}, LEAST_PROVEN_FIRST, Number.POSITIVE_INFINITY);
      return found.map(({ record: { dataset_id, archive, size, verified_at }, name, type }) => ({
        dataset_id,
        name,
        type,
        archive,
        size,
        verified_at,
      }));
    },
    addProof: (proof) => addProof(mongo, proof),
    proofs: (query) => proofs(mongo, query),
  };
}

const copyOf = (record: CopyRecord): BundleCopy => ({
  archive: record.archive,
  key: record.key,
  size: record.size,
  digests: record.digests,
  stored_at: record.stored_at,
  verified_at: record.verified_at,
  verified_how: record.verified_how,
  finding: record.finding,
});

async function putCopy(mongo: Mongo, id: number, copy: StoredCopy): Promise<void> {
  await change<CopyRecord, void>(mongo, copiesOf(mongo), idOf(id, copy.archive), async (before) => {
    const same =
      before !== null &&
      before.key === copy.key &&
      before.stored_at >= copy.stored_at &&
      toJson(before.digests) === toJson(copy.digests);
    const fresh: CopyRecord = {
      _id: idOf(id, copy.archive),
      dataset_id: id,
      archive: copy.archive,
      key: copy.key,
      size: longOf('size', copy.size),
      digests: copy.digests,
      stored_at: copy.stored_at,
      verified_at: same ? before.verified_at : null,
      verified_how: same ? before.verified_how : null,
      ...NOTHING_TOLD,
    };
    // Read after the copy was: a line that comes later finds that it has changed, or is found to have changed it.
    const { _id, ...set } = toldAnew(fresh, await linesOf(mongo, fresh));
    return { answer: undefined, set };
  });
}

type Place = { record: CopyRecord; name: string; type: string };

/** Copies of datasets that are not deleted; datasets are looked up a page at a time. */
async function ofAlive(
  mongo: Mongo,
  filter: Parameters<ReturnType<typeof copiesOf>['find']>[0],
  sort: Record<string, 1>,
  limit: number,
): Promise<Place[]> {
  const PAGE = 500;
  const found: Place[] = [];
  for (let skip = 0; found.length < limit; skip += PAGE) {
    const page = await mongo.run(() =>
      copiesOf(mongo).find(filter).sort(sort).skip(skip).limit(PAGE).toArray(),
    );
    const ids = [...new Set(page.map(({ dataset_id }) => dataset_id))];
    const alive = await mongo.run(() =>
      datasetsOf(mongo)
        .find({ _id: { $in: ids }, is_deleted: false }, { projection: { name: 1, type: 1 } })
        .toArray(),
    );
    const byId = new Map(alive.map((dataset) => [dataset._id, dataset]));
    for (const record of page) {
      const dataset = byId.get(record.dataset_id);
      if (dataset !== undefined) found.push({ record, name: dataset.name, type: dataset.type });
    }
    if (page.length < PAGE) break;
  }
  return found.slice(0, limit);
}

async function fixityOf(
  mongo: Mongo,
  { dataset_id, failed = false, limit = Number.POSITIVE_INFINITY }: Parameters<Catalog['fixity']>[0],
): Promise<CopyFixity[]> {
  await bringIn(mongo);
  const filter = {
    ...(dataset_id === undefined ? {} : { dataset_id }),
    ...(failed ? { 'finding.result': { $in: ['mismatch', 'missing'] } } : {}),
  };
  const found = await ofAlive(mongo, filter, LEAST_PROVEN_FIRST, limit);
  return found.map(
    ({ record, name, type }): CopyFixity => ({
      ...copyOf(record),
      dataset_id: record.dataset_id,
      name,
      type,
      last: record.last,
    }),
  );
}

async function withoutCopies(mongo: Mongo, limit: number): Promise<number[]> {
  const PAGE = 500;
  const found: number[] = [];
  for (let after_id = 0; found.length < limit; ) {
    const page = await mongo.run(() =>
      datasetsOf(mongo)
        .find(
          { _id: { $gt: after_id }, is_deleted: false, archive_path: { $ne: null }, bundle: { $ne: null } },
          { projection: { _id: 1 } },
        )
        .sort({ _id: 1 })
        .limit(PAGE)
        .toArray(),
    );
    const ids = page.map(({ _id }) => _id);
    const copies = await mongo.run(() =>
      copiesOf(mongo)
        .find({ dataset_id: { $in: ids } }, { projection: { dataset_id: 1 } })
        .toArray(),
    );
    const have = new Set(copies.map(({ dataset_id }) => dataset_id));
    found.push(...ids.filter((id) => !have.has(id)));
    if (page.length < PAGE) break;
    after_id = ids.at(-1) ?? after_id;
  }
  return found.slice(0, limit);
}
