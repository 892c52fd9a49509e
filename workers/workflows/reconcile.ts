import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import type { Chains, Ensured, Look } from '../queue/chain.ts';
import type { Records, WorkflowDocument, WorkflowWithRuns } from '../records/contract.ts';
import { runnablePosition } from './status.ts';

const PAGE = 500;

export interface ReconcileReport {
  looked_at: number;
  /** Workflows whose queue entry was missing or stuck. In a dry run: those that look so, and may still be well. */
  repaired: string[];
}

/**
 * Brings the queue to what the records say should run: after a registration whose process died before it queued
 * anything, a crash between record and queue, or a Redis that lost its data. Workflows that are fine cost one
 * lookup each, in one round trip per page.
 */
export async function reconcile(
  config: Config,
  records: Records,
  chains: Chains,
  log: Logger,
  { dry_run = false }: { dry_run?: boolean } = {},
): Promise<ReconcileReport> {
  const report: ReconcileReport = { looked_at: 0, repaired: [] };
  for (let after = ''; ; ) {
    const page = await records.liveWorkflows({ after, limit: PAGE });
    const own = page.filter((live) => live.app_id === config.app_id).map((live) => live.id);
    report.looked_at += own.length;
    for (const id of await suspectsOf(own, records, chains)) {
      if (dry_run) {
        report.repaired.push(id);
        continue;
      }
      const what = await enqueue(id, records, chains);
      if (what === 'present') continue;
      report.repaired.push(id);
      log.warn({ workflow_id: id, repair: what }, 'a workflow was missing in the queue; it was put back');
    }
    const last = page.at(-1);
    if (page.length < PAGE || last === undefined) return report;
    after = last.id;
  }
}

async function suspectsOf(ids: readonly string[], records: Records, chains: Chains): Promise<string[]> {
  if (ids.length === 0) return [];
  const { results } = await records.listWorkflows({ workflow_ids: ids, limit: ids.length });
  const candidates = results.flatMap((workflow) => {
    const position = runnablePosition(workflow);
    return position === null ? [] : [{ workflow: workflow.workflow, position }];
  });
  const suspicious = await chains.suspects(candidates);
  return candidates.filter((_, row) => suspicious[row]).map(({ workflow }) => workflow.id);
}

/** Puts what is missing of the workflow's chain into the queue, if anything of it should run. Idempotent. */
export async function enqueue(id: string, records: Records, chains: Chains): Promise<Ensured> {
  const look = lookAt(id, records);
  const seen = await look();
  return seen === null ? 'not runnable' : chains.ensure(seen.workflow, seen.position, look);
}

/** As {@link enqueue}, and a job that was put off until later is due now. */
export async function enqueueNow(id: string, records: Records, chains: Chains): Promise<void> {
  const look = lookAt(id, records);
  const seen = await look();
  if (seen === null) return;
  if ((await chains.ensure(seen.workflow, seen.position, look)) === 'present')
    await chains.hurry(seen.workflow, seen.position);
}

function lookAt(id: string, records: Records): Look {
  return async () => {
    const found = await records.workflowWithRuns(id);
    const position = found === null ? null : runnablePosition(found);
    return found === null || position === null ? null : { workflow: found.workflow, position };
  };
}

/**
 * A job has ended without its step having succeeded. Whatever the records say now holds: revoked or deleted, the
 * rest of the chain leaves the queue; resumed meanwhile (before this job had ended), it is queued again.
 */
export async function settle(
  id: string,
  known: WorkflowWithRuns | null,
  records: Records,
  chains: Chains,
): Promise<void> {
  if (known !== null && known.workflow.revoked_at !== null) await takeOut(known.workflow, records, chains);
  else await enqueue(id, records, chains);
}

/** Out of the queue, unless something of it ought to run again when its turn comes: a person resumed it meanwhile. */
export async function takeOut(workflow: WorkflowDocument, records: Records, chains: Chains): Promise<void> {
  const look = lookAt(workflow.id, records);
  await chains.remove(workflow, async () => (await look()) === null);
}
