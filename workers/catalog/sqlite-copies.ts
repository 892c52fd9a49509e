/** The copies of bundles, and the ledger of what was proven about them. */
import type { BundleCopy, Proof } from '../dataset/types.ts';
import type { Database, Statements } from '../sqlite/database.ts';
import { fromJson, toJson } from '../sqlite/values.ts';
import type { Catalog } from './contract.ts';

type Row<T> = Omit<T, 'digests' | 'details'>;
type CopyRow = Row<BundleCopy> & { dataset_id: number; digests: string };
type ProofRow = Row<Proof> & { details: string };

type CopyCatalog = Pick<Catalog, 'putCopy' | 'copies' | 'removeCopy' | 'leastProven' | 'addProof' | 'proofs'>;

export function copyCatalog(database: Database): CopyCatalog {
  return {
    putCopy: (id, copy) =>
      database.write((sql) => putCopy(sql, id, copy), { durable: true }).then(() => undefined),
    copies: (id) =>
      database.read((sql) =>
        sql.all<CopyRow>('select * from copies where dataset_id = ? order by archive', id).map(copyOf),
      ),
    removeCopy: (id, archive) =>
      database.write(
        (sql) => sql.run('delete from copies where dataset_id = ? and archive = ?', id, archive).changes > 0,
      ),
    leastProven: (limit) =>
      database.read((sql) =>
        sql
          .all<CopyRow>(
            `select copies.* from copies join datasets on datasets.id = copies.dataset_id
             where datasets.is_deleted = 0
             order by verified_at, stored_at, dataset_id, archive limit ?`, // Nulls sort first.
            limit,
          )
          .map((row) => ({ ...copyOf(row), dataset_id: row.dataset_id })),
      ),
    addProof: (proof) =>
      database.write((sql) => addProof(sql, proof), { durable: true }).then(() => undefined),
    proofs: ({ dataset_id, result, limit }) =>
      database.read((sql) =>
        sql
          .all<ProofRow>(
            `select dataset_id, archive, key, at, level, result, bytes, seconds, actor, details from proofs
             where (?1 is null or dataset_id = ?1) and (?2 is null or result = ?2) order by id desc limit ?3`,
            dataset_id ?? null,
            result ?? null,
            limit,
          )
          .map((row) => ({ ...row, details: fromJson<Record<string, unknown>>(row.details) })),
      ),
  };
}

const copyOf = ({
  archive,
  key,
  size,
  digests,
  stored_at,
  verified_at,
  verified_how,
}: Omit<CopyRow, 'dataset_id'>): BundleCopy => ({
  archive,
  key,
  size,
  digests: fromJson(digests),
  stored_at,
  verified_at,
  verified_how,
});

function putCopy(sql: Statements, id: number, copy: Parameters<Catalog['putCopy']>[1]): void {
  sql.run(
    `insert into copies (dataset_id, archive, key, size, digests, stored_at) values (?, ?, ?, ?, ?, ?)
     on conflict (dataset_id, archive) do update set
       verified_at = case when key is excluded.key and digests is excluded.digests then verified_at end,
       verified_how = case when key is excluded.key and digests is excluded.digests then verified_how end,
       key = excluded.key, size = excluded.size, digests = excluded.digests, stored_at = excluded.stored_at`,
    id,
    copy.archive,
    copy.key,
    copy.size,
    toJson(copy.digests),
    copy.stored_at,
  );
}

function addProof(sql: Statements, proof: Proof): void {
  sql.run(
    `insert into proofs (dataset_id, archive, key, at, level, result, bytes, seconds, actor, details)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    proof.dataset_id,
    proof.archive,
    proof.key,
    proof.at,
    proof.level,
    proof.result,
    proof.bytes,
    proof.seconds,
    proof.actor,
    toJson(proof.details),
  );
  // That there is an object of the right size is no proof of its bytes.
  if (proof.result !== 'ok' || proof.level === 'size') return;
  sql.run(
    'update copies set verified_at = ?, verified_how = ? where dataset_id = ? and archive = ? and key = ?',
    proof.at,
    proof.level,
    proof.dataset_id,
    proof.archive,
    proof.key,
  );
}
