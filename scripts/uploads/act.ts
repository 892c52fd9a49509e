/** What is done about one upload. Each act may be killed anywhere and is repeated by the next run. */
import { randomUUID } from 'node:crypto';
import type { Config } from '../../config/index.ts';
import { coerceError, isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import type { Logger } from '../../workers/log.ts';
import type { Records } from '../../workers/records/contract.ts';
import type { UploadLog, UploadPatch, Uploads } from '../../workers/uploads/contract.ts';
import { verificationTaskOf } from '../../workers/uploads/next.ts';
import { notifyOf } from '../../workers/uploads/notify.ts';
import type { Engine } from '../../workers/workflows/engine.ts';
import { stableId } from '../../workers/records/stable-id.ts';
import { verificationWorkflow } from './verification.ts';

export interface UploadParts {
  readonly config: Config;
  readonly uploads: Uploads;
  readonly records: Records;
  readonly engine: Engine;
  readonly log: Logger;
}

const ACTOR = 'manage_upload_workflows';

/**
 * The task id is in the upload's log before anything is queued. Killed in between, the next run finds an id that the
 * records do not know, and queues it.
 */
export async function spawnVerification(
  { uploads, engine }: UploadParts,
  { dataset_id }: UploadLog,
  promised: string | null,
): Promise<string> {
  const task_id = promised ?? randomUUID();
  const verification_started_at = new Date().toISOString();
  const metadata = { verification_task_id: task_id, verification_started_at };
  if (promised === null) await uploads.patch(dataset_id, { status: 'VERIFYING', metadata });
  // No workflow of the dataset: the facility's pages show those, and this one only reads.
  const start = { id: task_id, dataset_id: null, args: [dataset_id], initiator: ACTOR };
  await engine.start(verificationWorkflow(task_id), start);
  return task_id;
}

/** False: it has gone on meanwhile, and is left as it is. */
export async function rejectUpload(parts: UploadParts, log: UploadLog, reason: string): Promise<boolean> {
  const { uploads, records, engine } = parts;
  const task_id = verificationTaskOf(log);
  // A verification that is too late must not say VERIFIED afterwards.
  if (task_id !== null && (await records.workflow(task_id)) !== null)
    await engine.revoke(task_id, { actor: ACTOR, reason });
  const now = await uploads.log(log.dataset_id);
  if (now.status !== 'VERIFYING' || verificationTaskOf(now) !== task_id) return false;
  await fail(parts, log, 'VERIFICATION_FAILED', reason, task_id === null ? {} : { task_id });
  return true;
}

export const failStale = (parts: UploadParts, log: UploadLog, reason: string): Promise<void> =>
  fail(parts, log, 'UPLOAD_FAILED', reason);

export const giveUp = (parts: UploadParts, log: UploadLog, reason: string): Promise<void> =>
  fail(parts, log, 'PERMANENTLY_FAILED', reason);

async function fail(
  parts: UploadParts,
  { dataset_id, dataset, metadata }: UploadLog,
  status: 'UPLOAD_FAILED' | 'VERIFICATION_FAILED' | 'PERMANENTLY_FAILED',
  reason: string,
  more: Record<string, unknown> = {},
): Promise<void> {
  const why =
    status === 'PERMANENTLY_FAILED' && typeof metadata.failure_reason === 'string'
      ? `${reason}; last: ${metadata.failure_reason}`
      : reason;
  const failed_at = new Date().toISOString();
  await parts.uploads.patch(dataset_id, { status, metadata: { failure_reason: why, failed_at, ...more } });
  if (status === 'UPLOAD_FAILED') return; // Whoever closed the page knows.
  await notifyOf(parts, {
    label: `Upload of ${dataset.name} failed`,
    text: `Dataset ${dataset_id} (${dataset.name}) is ${status}: ${why}`,
  });
}

export type Landing =
  /** The workflow that lands it; null: one that is linked already. */
  | { readonly outcome: 'landed'; readonly workflow_id: string | null }
  | { readonly outcome: 'failed'; readonly reason: string };

/**
 * Starts the workflow and says COMPLETE, in this order: the other way round a crash would leave an upload that nobody
 * lands. The workflow's id follows from the upload, so a start that is repeated starts nothing.
 * @throws an outage, and what a person has to correct: such an upload stays as it is
 */
export async function land(parts: UploadParts, log: UploadLog, retry: boolean): Promise<Landing> {
  const retry_count = log.retry_count + 1;
  const again = retry ? { retry_count } : {};
  try {
    const { workflow_id } = await startOnce(parts, log);
    await complete(parts.uploads, log.dataset_id, {
      ...again,
      ...(workflow_id === null ? {} : { workflow_id }),
    });
    return { outcome: 'landed', workflow_id };
  } catch (error) {
    const { code, message, class: kind } = coerceError(error);
    if (!FINAL.has(code) || kind !== 'fatal') throw error;
    const metadata = { failure_reason: `${code}: ${message}`, failed_at: new Date().toISOString() };
    await parts.uploads.patch(log.dataset_id, { status: 'PROCESSING_FAILED', metadata, ...again });
    return { outcome: 'failed', reason: metadata.failure_reason };
  }
}

/** About the dataset, and not about a configuration or a service that somebody will put right. */
const FINAL: ReadonlySet<string> = new Set(['E_DATASET_DELETED', 'E_DATASET_NOT_FOUND']);

interface Started {
  /** To be linked; null: one is linked already. */
  readonly workflow_id: string | null;
}

async function startOnce(parts: UploadParts, log: UploadLog): Promise<Started> {
  const { config, uploads, records, engine } = parts;
  const { dataset_id, dataset } = log;
  const { app_id, registration } = config;
  const name = registration.workflow;
  const { is_deleted, workflow_ids } = await uploads.dataset(dataset_id);
  for (const id of workflow_ids) if ((await nameOf(parts, id)) === name) return { workflow_id: null };
  if (is_deleted)
    throw new LongshoreError('E_DATASET_DELETED', `dataset ${dataset_id} (${dataset.name}) was deleted`, {
      fields: { dataset_id },
    });
  // Of a run that died before it said COMPLETE, or started by hand.
  const { results } = await records.listWorkflows({ app_id, dataset_id, name, limit: 1 });
  const earlier = results[0]?.workflow.id;
  if (earlier !== undefined) {
    await engine.enqueue(earlier);
    return { workflow_id: earlier };
  }
  // Two runs that overlap all the same (a lock that was lost) record one workflow.
  const id = stableId(`${app_id}\0upload\0${dataset_id}`);
  return { workflow_id: (await engine.start(name, { id, dataset_id, initiator: ACTOR })).id };
}

async function nameOf({ records, uploads }: UploadParts, id: string): Promise<string | null> {
  return (await records.workflow(id))?.name ?? uploads.workflowName(id);
}

/** One that the API knows already was linked by a run whose answer was lost. */
async function complete(uploads: Uploads, dataset_id: number, patch: UploadPatch): Promise<void> {
  try {
    await uploads.patch(dataset_id, { status: 'COMPLETE', ...patch });
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_API_CONFLICT') throw error;
    const { workflow_id: _, ...rest } = patch;
    await uploads.patch(dataset_id, { status: 'COMPLETE', ...rest });
  }
}
