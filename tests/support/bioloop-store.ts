/** What the double of the API remembers, and the rules of the real one's database. */
import { normaliseName } from '../../workers/dataset/name.ts';

export interface StoredDataset {
  id: number;
  name: string;
  type: string;
  origin_path: string | null;
  archive_path: string | null;
  staged_path: string | null;
  is_deleted: boolean;
  is_staged: boolean;
  du_size: bigint | null;
  size: bigint | null;
  bundle_size: bigint | null;
  num_files: number | null;
  num_directories: number | null;
  description: string | null;
  create_method: string | null;
  metadata: Record<string, unknown>;
  created_at: string;
  updated_at: string;
  bundle: { name: string; size: bigint; md5: string } | null;
  /** Oldest first. */
  states: { state: string; timestamp: string; metadata: unknown }[];
  files: Map<string, StoredFile>;
  audit_logs: { action: string; user: { username: string }; timestamp: string }[];
  project_ids: string[];
  report: { name: string; content: string } | null;
}

export interface StoredFile {
  path: string;
  md5: string | null;
  size: bigint | null;
  filetype: string;
  /** Its place in the tree was never written. */
  unlinked?: boolean;
}

export interface StoredUpload {
  dataset_id: number;
  status: string;
  retry_count: number;
  process_id: string | null;
  metadata: Record<string, unknown>;
  updated_at: string;
}

/** An answer that is no success. */
export class Refusal extends Error {
  readonly status: number;
  readonly body: unknown;
  constructor(status: number, body: unknown) {
    super(`refused with ${status}`);
    this.status = status;
    this.body = body;
  }
}

export const invalid = (msg: string, path: string): Refusal =>
  new Refusal(400, { errors: [{ type: 'field', msg, path, location: 'body' }] });
export const absent = (): Refusal => new Refusal(404, { message: 'Not Found' });
export const conflict = (): Refusal => new Refusal(409, { message: 'Unique constraint failed' });
export const broken = (): Refusal => new Refusal(500, { message: 'An unexpected error occurred' });

/** Columns that PATCH takes; any other one makes the database layer throw. */
const COLUMNS = new Set([
  'name',
  'type',
  'origin_path',
  'archive_path',
  'staged_path',
  'is_deleted',
  'is_staged',
  'du_size',
  'size',
  'bundle_size',
  'num_files',
  'num_directories',
  'description',
  'create_method',
  'metadata',
  'bundle',
]);
const BIG = ['du_size', 'size', 'bundle_size'] as const;

export class BioloopStore {
  readonly datasets = new Map<number, StoredDataset>();
  /** Rows of Postgres: what the API knows of workflows, by id. */
  readonly workflows = new Map<string, { id: string; dataset_id: number | null; initiator_id: number }>();
  readonly uploads = new Map<number, StoredUpload>();
  readonly processes = new Map<number, Record<string, unknown>>();
  readonly logs = new Map<number, { timestamp: string; level: string; message: string }[]>();
  readonly metrics: Record<string, unknown>[] = [];
  readonly notifications: Record<string, unknown>[] = [];
  readonly projects = new Map<string, { id: string; name: string }>();
  readonly associations: { source_id: number; derived_id: number }[] = [];
  #ids = 0;
  #clock = Date.parse('2026-01-01T00:00:00.000Z');

  nextId(): number {
    return ++this.#ids;
  }

  /** Advances by a second, so that no two rows have the same time. Tests that need the age of rows set it. */
  now(): string {
    this.#clock = Math.max(this.#clock + 1, Date.now());
    return new Date(this.#clock).toISOString();
  }

  dataset(id: number): StoredDataset {
    const found = this.datasets.get(id);
    if (found === undefined) throw absent();
    return found;
  }

  /** The unique key of the table. */
  #taken(name: string, type: string, deleted: boolean, but?: number): boolean {
    return [...this.datasets.values()].some(
      (one) => one.name === name && one.type === type && one.is_deleted === deleted && one.id !== but,
    );
  }

  create(given: Record<string, unknown>, bulk: boolean): StoredDataset {
    refuseNullSizes(given, bulk);
    const name = normaliseName(textOf(given, 'name'));
    const type = textOf(given, 'type');
    if (given.create_method === 'IMPORT') throw new Refusal(403, { message: 'Forbidden' });
    if (this.#taken(name, type, false)) throw conflict();
    // PostgreSQL has no such character in its texts.
    if (JSON.stringify(given.origin_path ?? '').includes('\\u0000')) throw broken();
    const at = this.now();
    const dataset: StoredDataset = {
      id: this.nextId(),
      name,
      type,
      // The endpoint for one trims it, the one for many does not.
      origin_path: pathOf(given.origin_path, bulk),
      archive_path: null,
      staged_path: null,
      is_deleted: false,
      is_staged: false,
      du_size: bigOf(given.du_size),
      size: bigOf(given.size),
      bundle_size: bigOf(given.bundle_size),
      num_files: null,
      num_directories: null,
      description: typeof given.description === 'string' ? escapeHtml(given.description) : null,
      create_method: (given.create_method as string | undefined) ?? null,
      metadata: (given.metadata as Record<string, unknown> | undefined) ?? {},
      created_at: at,
      updated_at: at,
      bundle: null,
      states: [{ state: (given.state as string | undefined) ?? 'REGISTERED', timestamp: at, metadata: null }],
      files: new Map(),
      audit_logs: [{ action: 'create', user: { username: 'svc_tasks' }, timestamp: at }],
      // The bulk endpoint forgets it.
      project_ids: !bulk && typeof given.project_id === 'string' ? [given.project_id] : [],
      report: null,
    };
    this.datasets.set(dataset.id, dataset);
    // A foreign key, looked at when the dataset is committed.
    if (dataset.project_ids.some((id) => !this.projects.has(id))) throw conflict();
    if (typeof given.workflow_id === 'string') this.link(given.workflow_id, dataset.id);
    return dataset;
  }

  patch(id: number, patch: Record<string, unknown>): StoredDataset {
    refuseNullSizes(patch, false);
    const dataset = this.dataset(id);
    if (Object.keys(patch).some((key) => !COLUMNS.has(key))) throw broken();
    const { metadata, bundle, ...columns } = patch;
    const name = (columns.name as string | undefined) ?? dataset.name;
    const deleted = (columns.is_deleted as boolean | undefined) ?? dataset.is_deleted;
    if (this.#taken(name, dataset.type, deleted, id)) throw conflict();
    for (const key of BIG) if (key in columns) columns[key] = bigOf(columns[key]);
    Object.assign(dataset, columns, { updated_at: this.now() });
    if (metadata !== undefined)
      dataset.metadata = mergeDeep(dataset.metadata, metadata as Record<string, unknown>);
    if (bundle !== undefined) {
      if (bundle === null) throw broken();
      const { name: bundleName, size, md5 } = bundle as { name?: string; size?: number; md5?: string | null };
      // The columns of a bundle are not null.
      if (bundleName === undefined || size === undefined || md5 === null || md5 === undefined)
        throw new Refusal(400, { message: 'Null constraint violation' });
      dataset.bundle = { name: bundleName, size: BigInt(size), md5 };
    }
    return dataset;
  }

  /** What a status of failure of an upload does to its dataset. */
  tombstone(id: number): void {
    const dataset = this.dataset(id);
    if (dataset.is_deleted) return;
    Object.assign(dataset, { name: `${dataset.name}--${id}`, is_deleted: true, updated_at: this.now() });
  }

  link(workflow_id: string, dataset_id: number): void {
    if (this.workflows.has(workflow_id)) throw conflict();
    this.dataset(dataset_id);
    this.workflows.set(workflow_id, { id: workflow_id, dataset_id, initiator_id: 1 });
  }

  linked(dataset_id: number): string[] {
    return [...this.workflows.values()].filter((row) => row.dataset_id === dataset_id).map(({ id }) => id);
  }

  /** So many batches have their rows written, and the API is stopped, and back before anybody looks. */
  diesBeforeLinking = 0;

  /** Duplicates by path are skipped; every folder on the way gets a row, the root (path "") too. */
  addFiles(id: number, rows: readonly Record<string, unknown>[]): void {
    const { files } = this.dataset(id);
    // Places in the tree are written after the rows, also of rows that were there.
    const unlinked = this.diesBeforeLinking > 0;
    if (unlinked) this.diesBeforeLinking -= 1;
    const add = (row: StoredFile): void => {
      const there = files.get(row.path);
      if (there === undefined) files.set(row.path, { ...row, unlinked });
      else if (!unlinked) there.unlinked = false;
    };
    for (const row of rows) {
      const path = String(row.path);
      add({
        path,
        md5: (row.md5 as string | null | undefined) ?? null,
        size: bigOf(row.size),
        filetype: String(row.type),
      });
      for (let at = path; at !== ''; ) {
        at = at.includes('/') ? at.slice(0, at.lastIndexOf('/')) : '';
        add({ path: at, md5: null, size: null, filetype: 'directory' });
      }
    }
  }

  /** What lies in a folder; a file holds nothing. */
  filesBelow(id: number, base: string): StoredFile[] {
    const { files } = this.dataset(id);
    const folder = base.replace(/\/+$/, '');
    if (!files.has(folder)) throw absent();
    const parentOf = (path: string): string =>
      path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
    return [...files.values()].filter(
      ({ path, unlinked }) => path !== '' && unlinked !== true && parentOf(path) === folder,
    );
  }
}

const pathOf = (given: unknown, bulk: boolean): string | null =>
  typeof given !== 'string' ? null : bulk ? given : given.trim();

function textOf(given: Record<string, unknown>, key: string): string {
  const value = given[key];
  if (typeof value !== 'string' || value === '') throw invalid('Invalid value', key);
  return value;
}

/** `optional().notEmpty()` lets pass what is left out, and not a null. Of many at once it is BigInt that refuses it. */
function refuseNullSizes(given: Record<string, unknown>, bulk: boolean): void {
  for (const key of BIG) if (given[key] === null) throw bulk ? broken() : invalid('Invalid value', key);
}

function bigOf(value: unknown): bigint | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'bigint') return value;
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text === 'string' && /^\d+$/.test(text)) return BigInt(text);
  throw invalid('Invalid value', 'size');
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#x27;',
  '/': '&#x2F;',
};
const escapeHtml = (text: string): string => text.replace(/[&<>"'/]/g, (char) => ESCAPES[char] ?? char);

/** As lodash does: lists item by item, and the keys of an object over a list are none to JSON. */
export function mergeDeep(
  base: Record<string, unknown>,
  over: Record<string, unknown>,
): Record<string, unknown> {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) merged[key] = mergeValue(merged[key], value);
  return merged;
}

function mergeValue(before: unknown, value: unknown): unknown {
  if (isObject(before) && isObject(value)) return mergeDeep(before, value);
  if (!Array.isArray(before) || typeof value !== 'object' || value === null) return value;
  if (!Array.isArray(value)) return before;
  const rest = before.slice(value.length);
  return [...value.map((item, index) => mergeValue(before[index], item)), ...rest];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Its column is null until something is written to it. */
export const orNull = (metadata: Record<string, unknown>): Record<string, unknown> | null =>
  Object.keys(metadata).length === 0 ? null : metadata;
