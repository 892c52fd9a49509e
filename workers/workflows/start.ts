import { coerceError, LongshoreError } from '../errors.ts';
import type { WorkflowDocument } from '../records/contract.ts';
import { type AdHocWorkflow, buildWorkflow, type WorkflowStart } from './definition.ts';
import { brings } from './joining.ts';
import type { Ground } from './queue-reach.ts';
import { enqueue } from './reconcile.ts';

export interface StartOptions extends WorkflowStart {
  /** Also when another workflow of the dataset is pending or running. */
  alongside?: boolean;
}

export type StartedWorkflow = WorkflowDocument & {
  /** Nothing was started: it is another one, which was at work already and brings what was asked for. */
  readonly joined: boolean;
};

export async function startWorkflow(
  { config, store: { records }, side }: Ground,
  workflow: string | AdHocWorkflow,
  { alongside = false, ...start }: StartOptions,
): Promise<StartedWorkflow> {
  const document = buildWorkflow(config, workflow, start);
  // Two workflows on one dataset would replace each other's files. Looked at and recorded in one unit, or two people
  // who start at the same moment would both pass.
  const other = await records.createWorkflow(document, { alone: !alongside });
  if (other !== null && brings(other, document)) {
    const details = { name: document.name, dataset_id: start.dataset_id };
    const subject = `workflow:${other.id}`;
    await records.audit({ actor: start.initiator, action: 'workflow.join', subject, details });
    // Whoever recorded it may have died before it was queued; who joins does not wait for the reconciliation.
    await queueRecorded(other.id, async () => void (await enqueue(other.id, records, (await side()).chains)));
    return { ...other, joined: true };
  }
  if (other !== null) {
    throw new LongshoreError(
      'E_WORKFLOW_STATE',
      `workflow ${other.id} (${other.name}) works on dataset ${start.dataset_id} already; "${document.name}" was not started`,
      {
        fields: { dataset_id: start.dataset_id, workflow_id: other.id },
        hint: `Wait for it, or take it out with \`longshore revoke ${other.id}\`.`,
      },
    );
  }
  await queueRecorded(document.id, async () => (await side()).chains.begin(document));
  return { ...document, joined: false };
}

/** A workflow that is recorded will run: who started it must not think that it was not, and start it again. */
async function queueRecorded(id: string, queue: () => Promise<void>): Promise<void> {
  try {
    await queue();
  } catch (error) {
    const { code, message, hint, fields } = coerceError(error);
    throw new LongshoreError(code, `workflow ${id} is recorded, and not queued yet: ${message}`, {
      fields: { ...fields, workflow_id: id },
      hint: `${hint} Do not start it again: the next reconciliation queues it.`,
      cause: error,
    });
  }
}
