/** Failed workflows that nobody can mend any more, because their dataset was deleted. */
import { isLongshoreError } from '../errors.ts';
import type { WorkflowWithRuns } from '../records/contract.ts';
import type { Store } from '../store.ts';
import type { EngineParts } from './queue-reach.ts';
import { deriveStatus } from './status.ts';

const PAGE = 500;
const REASON = 'its dataset was deleted';
/** What deletes, works on a deleted dataset too: while it fails, something of that may be left. */
const DELETES = 'delete_dataset';

interface Failed {
  readonly id: string;
  readonly dataset_id: number;
  readonly task_id: string;
}

/**
 * They wait for nobody from then on, as after a revoke: with the reason in their history, and a resume is still possible.
 * Not done by whoever deletes: behind the REST API that is often the API itself, which asks nobody. Answers their ids.
 */
export async function dismissDeleted(
  { config: { app_id }, store: { catalog, records } }: Pick<EngineParts, 'config' | 'store'>,
  { dry_run = false }: { dry_run?: boolean } = {},
): Promise<string[]> {
  const failed: Failed[] = [];
  for (let skip = 0; ; skip += PAGE) {
    const page = { app_id, status: 'FAILURE', revoked: false, skip, limit: PAGE } as const;
    const { results } = await records.listWorkflows(page);
    failed.push(...results.flatMap(candidateOf));
    if (results.length < PAGE) break;
  }
  const dismissed: string[] = [];
  for (const [dataset_id, all] of Map.groupBy(failed, (one) => one.dataset_id)) {
    const gone = await isGone(catalog, dataset_id);
    if (gone === 'unknown') break;
    if (!gone) continue;
    for (const { id, task_id } of all) {
      // By its task id: one that was resumed meanwhile goes on.
      if (!dry_run) await records.pause(id, { actor: 'reconcile', take_out: true, reason: REASON, task_id });
      dismissed.push(id);
    }
  }
  return dismissed;
}

function candidateOf({ workflow, last_runs }: WorkflowWithRuns): Failed[] {
  const { steps_done } = deriveStatus(last_runs.map((run) => run?.status ?? null));
  const { id, dataset_id, steps } = workflow;
  const run = last_runs[steps_done];
  if (dataset_id === null || run == null || steps[steps_done]?.task === DELETES) return [];
  return [{ id, dataset_id, task_id: run._id }];
}

/**
 * One that the API has marked as deleted may have a bundle still, and one that nobody knows is left to purge_stale_workflows.
 * `unknown`: the catalog does not answer now, and the next look asks again.
 */
async function isGone(catalog: Store['catalog'], id: number): Promise<boolean | 'unknown'> {
  try {
    const { is_deleted, archive_path } = await catalog.get(id);
    return is_deleted && archive_path === null;
  } catch (error) {
    if (!isLongshoreError(error)) throw error;
    return error.code === 'E_DATASET_NOT_FOUND' ? false : 'unknown';
  }
}
