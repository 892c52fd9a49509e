/** What runs of enqueue-test leave: a sample's folder, and everything that Longshore holds of its dataset. */
import { lstat, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../../config/index.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { follow } from '../cli/follow.ts';
import { currentUser, type EngineSession } from '../cli/session.ts';

export const samplesFolder = (config: Config): string => join(config.paths.scratch, 'enqueue-test');

/** A folder without a dataset may be one that is being made. */
const SURELY_LEFT_MS = 3_600_000;

/** By the task that users delete with, so that nothing is left that it would leave. */
export async function cleanUp(
  { store, engine }: EngineSession,
  dataset: Dataset,
  folder: string,
): Promise<boolean> {
  const { id } = await engine.start(
    { name: 'test clean-up', steps: [{ name: 'delete', task: 'delete_dataset' }] },
    { dataset_id: dataset.id, initiator: currentUser() },
  );
  const [end] = await follow({ store, workflow_ids: [id], out: { write: () => undefined }, isTTY: false });
  if (end?.workflow.status !== 'SUCCESS') return false;
  await rm(folder, { recursive: true, force: true });
  return true;
}

export interface Cleaned {
  removed: string[];
  kept: { folder: string; reason: string }[];
}

/** What earlier runs have left, also those that were to keep it. What is at work stays. */
export async function cleanAll(session: EngineSession): Promise<Cleaned> {
  const cleaned: Cleaned = { removed: [], kept: [] };
  for (const folder of await samplesOf(session.config)) {
    const reason = await cleanOne(session, folder);
    if (reason === null) cleaned.removed.push(folder);
    else cleaned.kept.push({ folder, reason });
  }
  return cleaned;
}

async function samplesOf(config: Config): Promise<string[]> {
  const root = samplesFolder(config);
  try {
    // Others may write to the scratch space, and a link of that name may lead to folders that are no samples.
    if (!(await lstat(root)).isDirectory()) return [];
    return (await readdir(root)).toSorted().map((name) => join(root, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Why it stays; null: it is gone. */
async function cleanOne(session: EngineSession, folder: string): Promise<string | null> {
  const { catalog, records } = session.store;
  const [dataset] = (await catalog.list({ origin_path: folder, limit: 1 })).datasets;
  if (dataset !== undefined) {
    const { total } = await records.listWorkflows({ dataset_id: dataset.id, status: 'ACTIVE', limit: 1 });
    if (total > 0) return `a workflow works on dataset ${dataset.id}`;
    const gone = await cleanUp(session, dataset, folder);
    return gone ? null : `dataset ${dataset.id} could not be deleted, see longshore show ${dataset.id}`;
  }
  const { count } = await catalog.list({ origin_path: folder, deleted: true, limit: 1 });
  const age = Date.now() - (await stat(folder)).mtimeMs;
  if (count === 0 && age < SURELY_LEFT_MS) return 'it has no dataset yet, and was made a moment ago';
  await rm(folder, { recursive: true, force: true });
  return null;
}
