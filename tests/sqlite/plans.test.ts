/**
 * How SQLite answers what is asked often, once tables have grown for years: what it does with a million rows it does by the
 * same plan with none. Without statistics (nobody runs ANALYZE here) the plan depends on the text and the indexes only.
 */
import { DatabaseSync } from 'node:sqlite';
import { expect, onTestFinished, test } from 'vitest';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { sqliteCatalog } from '../../workers/catalog/sqlite/catalog.ts';
import type { Records } from '../../workers/records/contract.ts';
import { sqliteRecords } from '../../workers/records/sqlite/records.ts';
import { type Database, openDatabase, type Statements } from '../../workers/sqlite/database.ts';
import { begin, makeWorkflow } from '../records/fixture.ts';
import { makePlace } from '../support/place.ts';

interface Bench {
  records: Records;
  catalog: Catalog;
  /** What SQLite does for all that was asked meanwhile. */
  plansOf: (work: () => Promise<unknown>) => Promise<string[]>;
}

async function openBench(): Promise<Bench> {
  const { config } = await makePlace();
  const database = await openDatabase(config.catalog.path);
  onTestFinished(() => database.close());
  const asked = new Set<string>();
  const listening: Database = {
    ...database,
    read: (work) => database.read((sql) => work(noting(sql, asked))),
    write: (work, options) => database.write((sql) => work(noting(sql, asked)), options),
  };
  return {
    records: sqliteRecords(listening),
    catalog: sqliteCatalog(listening),
    plansOf: async (work) => {
      asked.clear();
      await work();
      return [...asked].flatMap((text) => planOf(config.catalog.path, text));
    },
  };
}

const noting = (sql: Statements, asked: Set<string>): Statements => ({
  ...sql,
  get: (text, ...values) => {
    asked.add(text);
    return sql.get(text, ...values);
  },
  all: (text, ...values) => {
    asked.add(text);
    return sql.all(text, ...values);
  },
});

function planOf(path: string, text: string): string[] {
  const connection = new DatabaseSync(path);
  try {
    const rows = connection.prepare(`explain query plan ${text}`).all() as { detail: string }[];
    return rows.map(({ detail }) => detail);
  } finally {
    connection.close();
  }
}

/** Reads a table from one end to the other, or sorts what it has found of the workflows. */
const readsAll = (plan: readonly string[]): string[] =>
  plan.filter((step) => /^SCAN (runs|attempts|steps|proofs|copies|datasets|audit)\b/.test(step));
const sorts = (plan: readonly string[]): boolean => plan.some((step) => step.includes('ORDER BY'));

test.each([
  ['the newest of an app', {}],
  ['the oldest of some names before a time', { names: ['qc'], created_before: '2020', sort_order_asc: true }],
  ['those that succeeded', { status: 'SUCCESS' as const }],
  ['those that are done', { status: 'DONE' as const }],
  ['those that a person revoked', { revoked: true }],
])('a page of workflows is found in the order of time: %s', async (_, query) => {
  const { records, plansOf } = await openBench();
  await records.createWorkflow(makeWorkflow());
  const plan = await plansOf(() => records.listWorkflows({ app_id: 'longshore-test', ...query }));
  const page = plan.filter((step) => /workflows/.test(step) && !step.includes('COVERING'));
  expect(page.join('\n')).toMatch(/USING INDEX workflows_(created|status)/);
  // Of the page itself steps and runs are put in order.
  expect(plan.filter((step) => step.includes('ORDER BY')).length).toBeLessThanOrEqual(2);
  expect(readsAll(plan)).toEqual([]);
});

test('who goes through all workflows is given each page from where the last one ended', async () => {
  const { records, plansOf } = await openBench();
  const query = { app_id: 'longshore-test', names: ['qc'], created_before: '2030' };
  const plan = await plansOf(() =>
    records.oldWorkflows(query, { after: { created_at: '2020', id: 'a' }, limit: 10 }),
  );
  expect(plan.join('\n')).toMatch(/^SEARCH workflows USING INDEX workflows_created \(created_at>/m);
});

test('workflows that are at work are looked up, not sought among all that are done', async () => {
  const { records, plansOf } = await openBench();
  const plan = await plansOf(() => records.listWorkflows({ app_id: 'longshore-test', status: 'ACTIVE' }));
  expect(plan).toContain('SEARCH workflows USING INDEX workflows_status (app_id=? AND status=?)');
});

test('workflows of a dataset are looked up by it, whatever else is asked of them', async () => {
  const { records, plansOf } = await openBench();
  const query = { app_id: 'longshore-test', status: 'SUCCESS' as const, dataset_id: 7 };
  const plan = await plansOf(() => records.listWorkflows(query));
  expect(plan).toContain('SEARCH workflows USING INDEX workflows_dataset (dataset_id=?)');
});

test('a lost process is judged without a look at all attempts there ever were', async () => {
  const { records, plansOf } = await openBench();
  const workflow = makeWorkflow();
  await records.createWorkflow(workflow);
  await begin(records, workflow, 0, 'w1');
  const plan = await plansOf(() => begin(records, workflow, 0, 'w2'));
  expect(plan.some((step) => step.includes('attempts_open'))).toBe(true);
  expect(readsAll(plan)).toEqual([]);
});

test('for the names of steps no run is looked at twice', async () => {
  const { records, plansOf } = await openBench();
  const workflow = makeWorkflow();
  await records.createWorkflow(workflow);
  expect(await records.stepNames()).toEqual([]);
  const plan = await plansOf(async () => {
    await begin(records, workflow);
    expect(await records.stepNames()).toEqual(['first']);
  });
  expect(plan).toContain('SEARCH runs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)');
  expect(readsAll(plan)).toEqual([]);
});

test('proofs and findings are found without a look at the whole ledger, or at all copies', async () => {
  const { catalog, plansOf } = await openBench();
  for (const ask of [
    () => catalog.proofs({ dataset_id: 7, limit: 10 }),
    () => catalog.proofs({ dataset_id: 7, result: 'ok', limit: 10 }),
    () => catalog.proofs({ result: 'mismatch', limit: 10 }),
    () => catalog.fixity({ dataset_id: 7 }),
    () => catalog.fixity({ failed: true }),
    () => catalog.fixity({ dataset_id: 7, failed: true }),
  ]) {
    expect(readsAll(await plansOf(ask)), ask.toString()).toEqual([]);
  }
  expect(sorts(await plansOf(() => catalog.proofs({ result: 'missing', limit: 10 })))).toBe(false);
});

test('what all archives hold is told without a look at the ledger, and of a page of copies only theirs is looked at', async () => {
  const { catalog, plansOf } = await openBench();
  const held = await plansOf(() => catalog.holdings());
  expect(held.filter((step) => step.includes('proofs'))).toEqual([]);
  // The page is made first, and the ledger asked about its rows.
  const page = await plansOf(() => catalog.fixity({ limit: 10 }));
  expect(page.findIndex((step) => step.includes('proofs'))).toBeGreaterThan(
    page.findIndex((step) => step.includes('copies')),
  );
  expect(page.some((step) => /^(CO-ROUTINE|MATERIALIZE) shown/.test(step))).toBe(true);
});

test('the copies that were looked at longest ago are chosen without a look at all proofs of each', async () => {
  const { catalog, plansOf } = await openBench();
  const plan = await plansOf(() => catalog.leastProven(10));
  expect(plan.some((step) => step.includes('proofs_failed'))).toBe(true);
});

test('a dataset is found by its name whatever the case', async () => {
  const { catalog, plansOf } = await openBench();
  const plan = await plansOf(() => catalog.list({ name: 'RUN_7', match_name_exact: true }));
  expect(plan).toContain('SEARCH datasets USING INDEX datasets_name (name=?)');
});
