/**
 * Workflows that were not registered with their dataset, on their way to the API: started later, or named under `then`.
 *
 * The spool has the link before the records have the workflow, so that no crash in between leaves one that the API never
 * hears of. What was not recorded after all is told by nobody: whoever learns of it withdraws the link, and one that a
 * crash left is dropped when it is delivered.
 */
import type { BioloopApi } from '../../bioloop/endpoints.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import { SHORT } from './datasets.ts';
import type { Spool, SpoolEntry } from './spool.ts';

/** So long records that are away for a while are given to hold the workflow of a link. */
const RECORDS_PATIENCE_MS = 600_000;

export interface LinkTelling {
  /** To be called before the workflow is recorded; `due_at` in ms of the epoch. */
  add(dataset_id: number, workflow_id: string, due_at: number): Promise<number>;
  /** What `add` answered: the workflow was not recorded. */
  withdraw(entry: number): Promise<void>;
}

export const linkTelling = (spool: Spool): LinkTelling => ({
  add: (dataset_id, workflow_id, due_at) =>
    spool.add({
      lane: `workflow:${workflow_id}`,
      kind: 'link',
      body: { id: dataset_id, workflow_id, late: true },
      due_at,
    }),
  withdraw: (entry) => spool.done(entry),
});

/** @throws E_API_FAILED the workflow is not recorded yet */
export async function tellLink(
  parts: { api: BioloopApi; isRecorded: (workflow_id: string) => Promise<boolean>; scale: number },
  entry: SpoolEntry,
  doubtful: boolean,
): Promise<unknown> {
  const { id, workflow_id, late } = entry.body as { id: number; workflow_id: string; late?: boolean };
  if (late !== true) return await linkOnce(parts.api, id, workflow_id, doubtful);
  if (!(await parts.isRecorded(workflow_id))) {
    if (Date.now() - Date.parse(entry.created_at) > RECORDS_PATIENCE_MS * parts.scale) return null;
    throw new LongshoreError('E_API_FAILED', `workflow ${workflow_id} is not recorded yet`, {
      fields: { workflow_id },
      hint: 'The link is told when the workflow is; nothing is to be done.',
    });
  }
  // The API may have started it itself.
  return await linkOnce(parts.api, id, workflow_id, true);
}

/** Two that register the same folder both see that the link is missing: that it is there already is what both wanted. */
async function linkOnce(
  api: BioloopApi,
  id: number,
  workflow_id: string,
  doubtful: boolean,
): Promise<unknown> {
  try {
    return await api.linkWorkflow(id, workflow_id, { ...SHORT, doubtful });
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_API_CONFLICT') throw error;
    const { workflows } = await api.getDataset(id, {}, SHORT);
    if (workflows?.some((one) => one.id === workflow_id) !== true) throw error;
    return null;
  }
}
