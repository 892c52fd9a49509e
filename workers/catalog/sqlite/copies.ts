/** The copies of bundles, and the ledger of what was proven about them. */
import { type BundleCopy, openFinding, type Proof, type StoredCopy } from '../../dataset/types.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { fromJson, toJson } from '../../sqlite/values.ts';
import type { Catalog, CopyCatalog, CopyFixity, Holding } from '../contract.ts';
import { datasetRow } from './rows.ts';

type Row<T> = Omit<T, 'digests' | 'details'>;
type CopyRow = Omit<Row<BundleCopy>, 'finding'> & { dataset_id: number; digests: string };
/** `finding`: number of the line. */
type FoundRow = CopyRow & { finding: number | null };
type ProofRow = Row<Proof> & { details: string };

const aboutIt = (copy: string): string =>
  ['dataset_id', 'archive', 'key'].map((column) => `proofs.${column} = ${copy}.${column}`).join(' and ');

/**
 * Empty text for never. A read that broke off counts, an archive that was away from the start does not, nor does what was
 * found before the copy was stored anew.
 */
const LEAST_PROVEN = `select copies.*, max(coalesce(verified_at, ''), coalesce((select max(at) from proofs
      where ${aboutIt('copies')} and at >= copies.stored_at and result <> 'ok' and (result <> 'unavailable' or bytes > 0)), '')
    ) as looked_at
  from copies join datasets on datasets.id = copies.dataset_id
  where datasets.is_deleted = 0 order by looked_at, stored_at, dataset_id, copies.archive limit ?`;

/** The number of the newest line of the ledger about the bytes of the copy. */
const findingOf = (
  copy: string,
): string => `(select max(id) from proofs where ${aboutIt(copy)} and (result in ('mismatch', 'missing')
  or (result = 'ok' and level <> 'size'))) as finding`;

/** In the words of the partial indexes. */
const FAILED = `(copies.dataset_id, copies.archive, copies.key) in (select dataset_id, archive, key from proofs
  where result <> 'ok' and result in ('mismatch', 'missing'))`;

const leastProvenFirst = (copy: string): string =>
  `order by ${['verified_at', 'stored_at', 'dataset_id', 'archive'].map((column) => `${copy}.${column}`).join(', ')}`;

/** Only the conditions that are asked for: one that may be switched off by a value keeps SQLite from every index. */
const aliveSql = (columns: string, conditions: readonly string[] = []): string =>
  `select ${columns}, datasets.name, datasets.type from copies join datasets on datasets.id = copies.dataset_id
  where ${['datasets.is_deleted = 0', ...conditions].join(' and ')} ${leastProvenFirst('copies')}`;

/** With the number of the newest line of all, too. The ledger grows for years: it is asked about those that are shown. */
const fixitySql = (conditions: readonly string[]): string =>
  `select shown.*, ${findingOf('shown')}, (select max(id) from proofs where ${aboutIt('shown')}) as last
  from (${aliveSql('copies.*', conditions)} limit ?) as shown ${leastProvenFirst('shown')}`;

const HELD = 'copies.dataset_id, copies.archive, copies.size, copies.verified_at';
/** As SQLite has it. */
const NO_LIMIT = -1;
const PROOF_COLUMNS = 'dataset_id, archive, key, at, level, result, bytes, seconds, actor, details';

export function copyCatalog(database: Database): CopyCatalog {
  return {
    putCopy: (id, copy) =>
      database.write((sql) => putCopy(sql, id, copy), { durable: true }).then(() => undefined),
    copies: (id) =>
      database.read((sql) =>
        sql
          .all<FoundRow>(
            `select *, ${findingOf('copies')} from copies where dataset_id = ? order by archive`,
            id,
          )
          .map((row) => ({ ...copyOf(row), finding: lineAt(sql, row.finding) })),
      ),
    removeCopy: (id, archive) =>
      database.write(
        (sql) => sql.run('delete from copies where dataset_id = ? and archive = ?', id, archive).changes > 0,
      ),
    leastProven: (limit) =>
      database.read((sql) =>
        sql
          .all<CopyRow & { looked_at: string }>(LEAST_PROVEN, limit)
          .map((row) => ({ ...copyOf(row), dataset_id: row.dataset_id, looked_at: row.looked_at || null })),
      ),
    withoutCopies: (limit) =>
      database.read((sql) =>
        sql
          .all<{ id: number }>(
            `select id from datasets where is_deleted = 0 and archive_path is not null
             and exists (select 1 from bundles where dataset_id = datasets.id)
             and not exists (select 1 from copies where dataset_id = datasets.id) order by id limit ?`,
            limit,
          )
          .map(({ id }) => id),
      ),
    fixity: (query) => database.read((sql) => fixityOf(sql, query)),
    holdings: () => database.read((sql) => sql.all<Holding>(aliveSql(HELD))),
    addProof: (proof) =>
      database.write((sql) => addProof(sql, proof), { durable: true }).then(() => undefined),
    proofs: (query) => database.read((sql) => proofsOf(sql, query)),
  };
}

const lineOf = (row: ProofRow): Proof => ({ ...row, details: fromJson(row.details) });

function lineAt(sql: Statements, id: number | null): Proof | null {
  const row =
    id === null ? undefined : sql.get<ProofRow>(`select ${PROOF_COLUMNS} from proofs where id = ?`, id);
  return row === undefined ? null : lineOf(row);
}

function proofsOf(sql: Statements, { dataset_id, result, limit }: Parameters<Catalog['proofs']>[0]): Proof[] {
  const conditions = [
    ...(dataset_id === undefined ? [] : ['dataset_id = ?']),
    ...(result === undefined ? [] : ['result = ?']),
    ...(result === undefined || result === 'ok' ? [] : ["result <> 'ok'"]), // The word of the partial index.
  ];
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  const values = [dataset_id, result].filter((value) => value !== undefined);
  return sql
    .all<ProofRow>(`select ${PROOF_COLUMNS} from proofs ${where} order by id desc limit ?`, ...values, limit)
    .map(lineOf);
}

type FixityRow = FoundRow & { name: string; type: string; last: number | null };

function fixityOf(
  sql: Statements,
  { dataset_id, failed = false, limit }: Parameters<Catalog['fixity']>[0],
): CopyFixity[] {
  const conditions = [
    ...(dataset_id === undefined ? [] : ['copies.dataset_id = ?']),
    ...(failed ? [FAILED] : []),
  ];
  // Of those that ever failed some hold again: which ones, only their ledger tells.
  const most = failed ? NO_LIMIT : (limit ?? NO_LIMIT);
  const rows = sql
    .all<FixityRow>(fixitySql(conditions), ...(dataset_id === undefined ? [] : [dataset_id]), most)
    .map(
      (row): CopyFixity => ({
        ...copyOf(row),
        dataset_id: row.dataset_id,
        name: row.name,
        type: row.type,
        finding: lineAt(sql, row.finding),
        last: lineAt(sql, row.last),
      }),
    );
  return failed ? rows.filter((row) => openFinding(row) !== null).slice(0, limit) : rows;
}

const copyOf = ({
  archive,
  key,
  size,
  digests,
  stored_at,
  verified_at,
  verified_how,
}: Omit<CopyRow, 'dataset_id'>): Omit<BundleCopy, 'finding'> => ({
  archive,
  key,
  size,
  digests: fromJson(digests),
  stored_at,
  verified_at,
  verified_how,
});

function putCopy(sql: Statements, id: number, copy: StoredCopy): void {
  datasetRow(sql, id);
  const same = 'key is excluded.key and digests is excluded.digests and stored_at >= excluded.stored_at';
  sql.run(
    `insert into copies (dataset_id, archive, key, size, digests, stored_at) values (?, ?, ?, ?, ?, ?)
     on conflict (dataset_id, archive) do update set
       verified_at = case when ${same} then verified_at end,
       verified_how = case when ${same} then verified_how end,
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
