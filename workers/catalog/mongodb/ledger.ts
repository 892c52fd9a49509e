/**
 * The ledger of what was proven about copies. A line of it decides; what it says of its copy is written into that next, and
 * by the next one who reads copies if the process was killed in between.
 */
import { ObjectId } from 'mongodb';
import { type BundleCopy, isFinding, isHeld, type Proof } from '../../dataset/types.ts';
import { change, insertOnce, type Versioned } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { longOf } from '../../mongodb/values.ts';
import { fromJson, toJson } from '../../sqlite/values.ts';
import type { Catalog } from '../contract.ts';

export interface CopyRecord extends Versioned, BundleCopy {
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

export const copiesOf = (mongo: Mongo) => mongo.collection<CopyRecord>('longshore_copies');
const proofsOf = (mongo: Mongo) => mongo.collection<ProofRecord>('longshore_proofs');
export const idOf = (dataset_id: number, archive: string): string => `${dataset_id}/${archive}`;

export async function addProof(mongo: Mongo, proof: Proof): Promise<void> {
  const record = {
    _id: new ObjectId(),
    ...proof,
    details: fromJson<Proof['details']>(toJson(proof.details)),
  };
  const bytes = longOf('bytes', proof.bytes);
  await insertOnce(mongo, proofsOf(mongo), { ...record, bytes, pending: true });
  await bringInto(mongo, record);
}

export async function proofs(
  mongo: Mongo,
  { dataset_id, result, limit }: Parameters<Catalog['proofs']>[0],
): Promise<Proof[]> {
  if (limit <= 0) return [];
  const filter = {
    ...(dataset_id === undefined ? {} : { dataset_id }),
    ...(result === undefined ? {} : { result }),
  };
  const found = await mongo.run(() => proofsOf(mongo).find(filter).sort({ _id: -1 }).limit(limit).toArray());
  return found.map(lineOf);
}

function lineOf(record: ProofRecord): Proof {
  const { dataset_id, archive, key, at, level, result, bytes, seconds, actor, details } = record;
  return { dataset_id, archive, key, at, level, result, bytes, seconds, actor, details };
}

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
export async function bringIn(mongo: Mongo): Promise<void> {
  const lines = await mongo.run(() =>
    proofsOf(mongo).find({ pending: true }).sort({ _id: 1 }).limit(1000).toArray(),
  );
  for (const line of lines) await bringInto(mongo, line);
}

export const linesOf = (mongo: Mongo, { dataset_id, archive, key }: CopyRecord): Promise<ProofRecord[]> =>
  mongo.run(() => proofsOf(mongo).find({ dataset_id, archive, key }).sort({ _id: 1 }).toArray());

export const NOTHING_TOLD = { finding: null, last: null, failed_at: '', looked_at: '', line: null } as const;

/** What the ledger says of an object of this key stays said; a proof of other bytes dates nothing. */
export function toldAnew(copy: CopyRecord, lines: readonly ProofRecord[]): CopyRecord {
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
