import type { Filter } from 'mongodb';
import type { Mongo } from '../../mongodb/connection.ts';
import type {
  LiveWorkflow,
  OldWorkflow,
  Records,
  WorkflowQuery,
  WorkflowStatus,
  WorkflowWithRuns,
} from '../contract.ts';
import { finishDeletions } from './deletion.ts';
import { oldOf, runOf, type WorkflowRecord, workflowOf } from './documents.ts';
import { insertWorkflow, LIVE, startAlone, THERE } from './new.ts';
import { loadRuns, pendingPosition, type Runs, runsOf, runsOfStep } from './runs.ts';
import { readable } from './readable.ts';
import { readWorkflow, settle, settled, workflowsOf } from './settle.ts';
import { statusesOf } from '../status.ts';

type WorkflowRecords = Pick<
  Records,
  | 'createWorkflow'
  | 'workflow'
  | 'workflowWithRuns'
  | 'listWorkflows'
  | 'countWorkflows'
  | 'stepNames'
  | 'liveWorkflows'
  | 'oldWorkflows'
>;

export function workflowRecords(mongo: Mongo): WorkflowRecords {
  return {
    createWorkflow: async (workflow, options = {}) => {
      if (options.alone === true) return startAlone(mongo, workflow);
      await insertWorkflow(mongo, workflow);
      return null;
    },
    workflow: async (id) => {
      const found = await readWorkflow(mongo, id);
      return found === null ? null : workflowOf(found);
    },
    workflowWithRuns: async (id, options = {}) => {
      const found = await readWorkflow(mongo, id);
      if (found === null) return null;
      return withRuns(found, await loadRuns(mongo, [found]), options.prev_runs ?? false);
    },
    listWorkflows: (query, options = {}) => listWorkflows(mongo, query, options.prev_runs ?? false),
    countWorkflows: (app_id) => countByStatus(mongo, app_id),
    stepNames: () => stepNames(mongo),
    liveWorkflows: (page) => liveWorkflows(mongo, page),
    oldWorkflows: (query, page) => oldWorkflows(mongo, query, page),
  };
}

function withRuns(record: WorkflowRecord, runs: Runs, prev: boolean): WorkflowWithRuns {
  const workflow = workflowOf(record);
  const byStep = record.steps.map((step, position) =>
    runsOfStep(record, position, runs).map((run) =>
      runOf(run, step.task_runs?.find(({ task_id }) => task_id === run._id)?.date_start),
    ),
  );
  const last_runs = byStep.map((list) => list.at(-1) ?? null);
  return prev
    ? { workflow, last_runs, prev_runs: byStep.map((list) => list.slice(0, -1)) }
    : { workflow, last_runs };
}

function nameFilter({ name, names }: WorkflowQuery): Filter<WorkflowRecord> {
  if (names === undefined) return name === undefined ? {} : { name };
  return { name: { $in: name === undefined ? [...names] : names.filter((one) => one === name) } };
}

/** A prefix is a range, which the index answers; no digit comes after f and before g. */
function idFilter({ workflow_ids, id_prefix }: WorkflowQuery): Filter<WorkflowRecord> {
  if (workflow_ids === undefined && id_prefix === undefined) return {};
  return {
    _id: {
      ...(workflow_ids === undefined ? {} : { $in: [...workflow_ids] }),
      ...(id_prefix === undefined ? {} : { $gte: id_prefix, $lt: `${id_prefix}g` }),
    },
  };
}

async function listWorkflows(mongo: Mongo, query: WorkflowQuery, prev: boolean) {
  const filter: Filter<WorkflowRecord> = {
    ...THERE,
    ...(query.app_id === undefined ? {} : { app_id: query.app_id }),
    ...(query.dataset_id === undefined ? {} : { dataset_id: query.dataset_id }),
    ...nameFilter(query),
    ...(query.created_before === undefined ? {} : { created_at: { $lt: new Date(query.created_before) } }),
    ...(query.revoked === undefined ? {} : { revoked_at: query.revoked ? { $ne: null } : null }),
    ...idFilter(query),
    ...(query.status === undefined ? {} : { _status: { $in: [...statusesOf(query.status)] } }),
  };
  const limit = query.limit ?? 10;
  const direction = query.sort_order_asc === true ? 1 : -1;
  const total = await mongo.run(() => workflowsOf(mongo).countDocuments(filter));
  // A limit of 0 means all to MongoDB.
  const records =
    limit === 0
      ? []
      : await mongo.run(() =>
          workflowsOf(mongo)
            .find(filter)
            .sort({ created_at: direction, order: direction })
            .skip(query.skip ?? 0)
            .limit(limit)
            .toArray(),
        );
  const whole = await readable(records);
  const runs = await loadRuns(mongo, whole);
  return { total, results: whole.map((record) => withRuns(record, runs, prev)) };
}

/** Where the reference keeps them, too. */
async function stepNames(mongo: Mongo): Promise<string[]> {
  const names: unknown[] = await mongo.run(() => runsOf(mongo).distinct('kwargs.step'));
  return names.filter((name) => typeof name === 'string').toSorted();
}

/** Null matches those without one, too. */
async function countByStatus(mongo: Mongo, app_id: string | null): Promise<Record<WorkflowStatus, number>> {
  const counts = { PENDING: 0, STARTED: 0, SUCCESS: 0, FAILURE: 0, REVOKED: 0 };
  const rows = await mongo.run(() =>
    workflowsOf(mongo)
      .aggregate<{ _id: WorkflowStatus | null; count: number }>([
        { $match: { app_id, ...THERE } },
        { $group: { _id: '$_status', count: { $sum: 1 } } },
      ])
      .toArray(),
  );
  for (const { _id, count } of rows) if (_id !== null && Object.hasOwn(counts, _id)) counts[_id] = count;
  return counts;
}

/** Those whose document does not agree with their runs are settled on the way: their process was killed in between. */
async function liveWorkflows(
  mongo: Mongo,
  page: { after?: string; limit?: number },
): Promise<LiveWorkflow[]> {
  const limit = page.limit ?? 1000;
  let after = page.after ?? '';
  if (after === '') await finishDeletions(mongo);
  const live: LiveWorkflow[] = [];
  while (live.length < limit) {
    const wanted = limit - live.length;
    const records = await mongo.run(() =>
      workflowsOf(mongo)
        .find({ ...THERE, ...LIVE, _id: { $gt: after } })
        .sort({ _id: 1 })
        .limit(wanted)
        .toArray(),
    );
    const whole = await readable(records);
    const runs = await loadRuns(mongo, whole);
    for (const record of whole) live.push(...(await liveEntry(mongo, record, runs)));
    if (records.length < wanted) break;
    after = records.at(-1)?._id ?? after;
  }
  return live;
}

async function liveEntry(mongo: Mongo, record: WorkflowRecord, runs: Runs): Promise<LiveWorkflow[]> {
  const own = record.steps.flatMap((_, position) => runsOfStep(record, position, runs));
  const unsettled =
    record.outbox !== undefined ||
    own.some(({ outbox }) => outbox !== undefined) ||
    settled(record, runs) !== null;
  const workflow = unsettled ? await settle(mongo, record._id) : record;
  if (workflow === null) return [];
  const index = pendingPosition(workflow, unsettled ? await loadRuns(mongo, [workflow]) : runs);
  const isLive =
    workflow._status === 'PENDING' || workflow._status === 'STARTED' || Boolean(workflow.resume_lock);
  return isLive && index !== -1 ? [{ id: workflow._id, app_id: workflow.app_id ?? '', index }] : [];
}

/** Also those that nobody can read, which would end a page too early if they were left out. */
async function oldWorkflows(
  mongo: Mongo,
  { app_id, names, created_before }: Parameters<Records['oldWorkflows']>[0],
  { after, limit }: Parameters<Records['oldWorkflows']>[1],
): Promise<OldWorkflow[]> {
  const at = new Date(after?.created_at ?? 0);
  const beyond = { $or: [{ created_at: { $gt: at } }, { created_at: at, _id: { $gt: after?.id ?? '' } }] };
  const records = await mongo.run(() =>
    workflowsOf(mongo)
      .find({
        ...THERE,
        app_id,
        name: { $in: [...names] },
        created_at: { $gte: at, $lt: new Date(created_before) },
        ...(after === undefined ? {} : beyond),
      })
      .sort({ created_at: 1, _id: 1 })
      .limit(limit)
      .toArray(),
  );
  return records.map(oldOf);
}
