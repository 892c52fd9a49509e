/** The fourth rule: folders of uploads whose datasets are archived. */
import { dirname } from 'node:path';
import { copiesOf } from '../../workers/archive/copies.ts';
import { whyNotHeldByAll } from '../../workers/archive/presence.ts';
import { removeTree } from '../../workers/content/coreutils.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../../workers/errors.ts';
import type { Records } from '../../workers/records/contract.ts';
import { type Payload, payloadOf } from '../../workers/uploads/roots.ts';
import { counted, emptyTally, removeIfEmpty, type Purge, type RuleTally } from './purge-rule.ts';

const PAGE = 200;

export async function purgeArchived(purge: Purge): Promise<RuleTally> {
  const tally = emptyTally();
  for (const deleted of [false, true])
    await counted(tally, purge.log, { deleted }, async () => {
      for await (const dataset of archived(purge, deleted)) {
        if (purge.signal?.aborted === true) return;
        const { id: dataset_id, name } = dataset;
        await counted(tally, purge.log, { dataset_id, name }, () => purgePayload(purge, tally, dataset));
      }
    });
  return tally;
}

async function* archived({ catalog }: Purge, deleted: boolean): AsyncGenerator<Dataset> {
  for (let offset = 0; ; offset += PAGE) {
    const { datasets } = await catalog.list({ archived: true, deleted, limit: PAGE, offset });
    yield* datasets;
    if (datasets.length < PAGE) return;
  }
}

async function purgePayload(purge: Purge, tally: RuleTally, dataset: Dataset): Promise<void> {
  const payload = uploadedTo(purge, dataset);
  if (payload === null) return;
  const kept = await whyKept(purge, dataset);
  if (kept !== null) {
    const { code, message } = kept;
    purge.log.warn(
      { dataset_id: dataset.id, name: dataset.name, code, reason: message },
      'an upload is kept',
    );
    tally.skipped += 1;
    return;
  }
  if (!purge.dry_run) {
    await removeTree(payload.path);
    removeIfEmpty(dirname(payload.path));
  }
  purge.gone(payload.path);
  tally.deleted += 1;
}

/** Null: it did not come by an upload, or its folder is gone. */
function uploadedTo({ config, roots }: Purge, { origin_path }: Dataset): Payload | null {
  try {
    return payloadOf(config, roots, origin_path);
  } catch (error) {
    if (isLongshoreError(error) && error.code === 'E_NAME_UNSAFE') return null;
    throw error;
  }
}

/**
 * The reference takes the catalog's word for it. Here every archive of the type must have the bundle, whole; where this installation
 * has written it, it was read back and proven too; and no workflow may be at work, which might still read the origin.
 * @throws E_ARCHIVE_UNAVAILABLE: an archive that is away says nothing
 */
async function whyKept(
  { config, catalog, records }: Purge,
  dataset: Dataset,
): Promise<LongshoreError | null> {
  const { id: dataset_id } = dataset;
  const { total } = await records.listWorkflows({ dataset_id, status: 'ACTIVE', limit: 1 });
  if (total > 0) return new LongshoreError('E_WORKFLOW_STATE', `a workflow works on dataset ${dataset_id}`);
  const recorded = await catalog.copies(dataset_id);
  const foreign = recorded.length === 0 && !(await isOurs(records, dataset_id));
  const copies = copiesOf(config, dataset, recorded);
  const reasons = await whyNotHeldByAll(config, foreign ? asProven(dataset) : dataset, copies);
  const [first = null] = reasons;
  if (first?.code === 'E_ARCHIVE_UNAVAILABLE') throw first;
  return first;
}

/** Its bundle was written by a task of this installation, which records when it was proven. */
async function isOurs(records: Records, dataset_id: number): Promise<boolean> {
  const { results } = await records.listWorkflows({ dataset_id, limit: 1000 });
  return results.some(({ workflow }) => workflow.steps.some((step) => step.task === 'archive_dataset'));
}

/** Archived by the reference, which proves nothing and records no proof: its size has to do. */
const asProven = (dataset: Dataset): Dataset =>
  dataset.bundle == null
    ? dataset
    : {
        ...dataset,
        bundle: { ...dataset.bundle, verified_at: dataset.bundle.verified_at ?? dataset.updated_at },
      };
