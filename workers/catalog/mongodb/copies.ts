/**
 * The copies of bundles, and the ledger of what was proven about them. A line of the ledger decides; what it says of its
 * copy is written into that next, and by the next one who reads copies if the process was killed in between.
 */
import { ObjectId } from 'mongodb';
import { type BundleCopy, isFinding, isHeld, type Proof, type StoredCopy } from '../../dataset/types.ts';
import { change, insertOnce, type Versioned } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { longOf } from '../../mongodb/values.ts';
import { fromJson, toJson } from '../../sqlite/values.ts';
import type { Catalog, CopyFixity } from '../contract.ts';
import { datasetsOf, readDataset } from './documents.ts';

type CopyCatalog = Pick<
  Catalog,
  | 'putCopy'
  | 'copies'
  | 'removeCopy'
  | 'leastProven'
  | 'withoutCopies'
  | 'fixity'
  | 'holdings'
  | 'addProof'
  | 'proofs'
>;

interface CopyRecord extends Versioned, BundleCopy {
  /** `<dataset>/<archive>` */
  _id: string;
  dataset_id: number;
  last: Proof | null;
  /** When a look at it last failed; empty for never since it was stored. */
  failed_at: string;
  /** The later one of `failed_at` and `verified_at`; empty for never. */
  looked_at: string;
  /** The newest line of the ledger that is in it. */
  line: ObjectId | null;
}

/** `pending`: not yet in its copy. */
type ProofRecord = Proof & { _id: ObjectId; pending?: boolean };

const copiesOf = (mongo: Mongo) => mongo.collection<CopyRecord>('longshore_copies');
const proofsOf = (mongo: Mongo) => mongo.collection<ProofRecord>('longshore_proofs');
const idOf = (dataset_id: number, archive: string): string => `${dataset_id}/${archive}`;

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
    addProof: async (proof) => {
      const record = {
        _id: new ObjectId(),
        ...proof,
        details: fromJson<Proof['details']>(toJson(proof.details)),
      };
      const bytes = longOf('bytes', proof.bytes);
      await insertOnce(mongo, proofsOf(mongo), { ...record, bytes, pending: true });
      await bringInto(mongo, record);
    },
    proofs: async ({ dataset_id, result, limit }) => {
      if (limit <= 0) return [];
      const filter = {
        ...(dataset_id === undefined ? {} : { dataset_id }),
        ...(result === undefined ? {} : { result }),
      };
      const found = await mongo.run(() =>
        proofsOf(mongo).find(filter).sort({ _id: -1 }).limit(limit).toArray(),
      );
      return found.map(lineOf);
    },
  };
}

function lineOf(record: ProofRecord): Proof {
  const { dataset_id, archive, key, at, level, result, bytes, seconds, actor, details } = record;
  return { dataset_id, archive, key, at, level, result, bytes, seconds, actor, details };
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

/** A read that broke off counts, an archive that was away from the start does not. */
const isFailedLook = ({ result, bytes }: Proof): boolean =>
  result !== 'ok' && (result !== 'unavailable' || bytes > 0);

/** What a line of the ledger changes in its copy. */
function after(copy: CopyRecord, line: ProofRecord): Partial<CopyRecord> {
  const proof = lineOf(line);
  const held = isHeld(proof) ? { verified_at: proof.at, verified_how: proof.level } : {};
  const failed =
    isFailedLook(proof) && proof.at >= copy.stored_at && proof.at > copy.failed_at
      ? proof.at
      : copy.failed_at;
  const verified = held.verified_at ?? copy.verified_at ?? '';
  return {
    ...held,
    last: proof,
    ...(isFinding(proof) || isHeld(proof) ? { finding: proof } : {}),
    failed_at: failed,
    looked_at: failed > verified ? failed : verified,
    line: line._id,
  };
}

async function bringInto(mongo: Mongo, line: ProofRecord): Promise<void> {
  await change<CopyRecord, void>(
    mongo,
    copiesOf(mongo),
    idOf(line.dataset_id, line.archive),
    async (copy) => {
      const known =
        copy === null || copy.key !== line.key || (copy.line !== null && copy.line.equals(line._id));
      if (known) return { answer: undefined };
      return { answer: undefined, set: await told(mongo, copy, line) };
    },
  );
  await mongo.run(() => proofsOf(mongo).updateOne({ _id: line._id }, { $unset: { pending: '' } }));
}

/** A line that a killed process has left may come after newer ones: it takes nothing of them back. */
async function told(mongo: Mongo, copy: CopyRecord, line: ProofRecord): Promise<Partial<CopyRecord>> {
  const late = copy.line !== null && copy.line.getTimestamp() > line._id.getTimestamp();
  if (!late) return after(copy, line);
  const dates = isHeld(line) && line.at >= copy.stored_at && line.at > (copy.verified_at ?? '');
  const held = dates ? { verified_at: line.at, verified_how: line.level } : {};
  const {
    finding,
    last,
    failed_at,
    looked_at,
    line: newest,
  } = toldAnew({ ...copy, ...held }, await linesOf(mongo, copy));
  return { ...held, finding, last, failed_at, looked_at, line: newest };
}

/** Lines whose process was killed before their copies knew of them. */
async function bringIn(mongo: Mongo): Promise<void> {
  const lines = await mongo.run(() =>
    proofsOf(mongo).find({ pending: true }).sort({ _id: 1 }).limit(1000).toArray(),
  );
  for (const line of lines) await bringInto(mongo, line);
}

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

const linesOf = (mongo: Mongo, { dataset_id, archive, key }: CopyRecord): Promise<ProofRecord[]> =>
  mongo.run(() => proofsOf(mongo).find({ dataset_id, archive, key }).sort({ _id: 1 }).toArray());

const NOTHING_TOLD = { finding: null, last: null, failed_at: '', looked_at: '', line: null } as const;

/** What the ledger says of an object of this key stays said; a proof of other bytes dates nothing. */
function toldAnew(copy: CopyRecord, lines: readonly ProofRecord[]): CopyRecord {
  const { verified_at, verified_how } = copy;
  const told = lines.reduce<CopyRecord>(
    (so, line) => ({ ...so, ...after(so, line), verified_at, verified_how }),
    {
      ...copy,
      ...NOTHING_TOLD,
    },
  );
  const verified = verified_at ?? '';
  return { ...told, looked_at: told.failed_at > verified ? told.failed_at : verified };
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

const LEAST_PROVEN_FIRST = { verified_at: 1, stored_at: 1, dataset_id: 1, archive: 1 } as const;

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
