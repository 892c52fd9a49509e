import { lstat, readlink, realpath, rmdir, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Config, pathsOf } from '../../config/index.ts';
import { removeTree } from '../../workers/content/publish.ts';
import {
  aliasFolderOf,
  assertBelow,
  downloadLinksOf,
  stagedBundleOf,
  stagedPathOf,
} from '../../workers/dataset/paths.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';

export interface PurgeRow {
  dataset_id: number;
  name: string;
  type: string;
  staged_at: string | null;
  size: number | null;
  outcome: 'purged' | 'would purge' | 'refused' | 'failed';
  note: string;
}

/** Datasets whose staged copy has outlived `days_to_live`, the one that was staged longest ago first. */
export async function candidatesOf(
  store: Store,
  days_to_live: number,
): Promise<{ dataset: Dataset; staged_at: string | null }[]> {
  const { datasets } = await store.catalog.list({ days_since_last_staged: days_to_live });
  const found = await Promise.all(
    datasets.map(async (dataset) => {
      const states = await store.catalog.states(dataset.id);
      return { dataset, staged_at: states.find(({ state }) => state === 'STAGED')?.timestamp ?? null };
    }),
  );
  // Never staged as far as the states tell: before all others.
  return found.toSorted((a, b) => (a.staged_at ?? '').localeCompare(b.staged_at ?? ''));
}

/**
 * Removes the staged copy of a dataset and every way to it: links first, so that nobody finds one that leads nowhere,
 * the record last, so that a run that is killed is repeated.
 */
export async function purge(
  parts: { config: Config; store: Store; actor: string; dry_run: boolean },
  { dataset, staged_at }: { dataset: Dataset; staged_at: string | null },
): Promise<PurgeRow> {
  const { id, name, type, size } = dataset;
  const row = { dataset_id: id, name, type, staged_at, size, note: '' };
  try {
    const path = await checkedPath(parts.config, dataset);
    await refuseIfNeeded(parts.store, dataset);
    if (parts.dry_run) return { ...row, outcome: 'would purge', note: path };
    await removeStaged(parts.config, dataset, path);
    await parts.store.catalog.patch(id, { is_staged: false, staged_path: null });
    await parts.store.catalog.addState(id, 'PURGED', { by: 'purge_staged_datasets' });
    const details = { name, path, staged_at };
    await parts.store.records.audit({
      actor: parts.actor,
      action: 'dataset.purge',
      subject: `dataset:${id}`,
      details,
    });
    return { ...row, outcome: 'purged', note: path };
  } catch (error) {
    const { code, message } = coerceError(error);
    const refused = code === 'E_NAME_UNSAFE' || code === 'E_NOT_ARCHIVED' || code === 'E_WORKFLOW_STATE';
    return { ...row, outcome: refused ? 'refused' : 'failed', note: `${code}: ${message}` };
  }
}

/** @throws E_NAME_UNSAFE when the recorded path leads out of the stage folder, also by way of a link */
async function checkedPath(config: Config, dataset: Dataset): Promise<string> {
  const stage = pathsOf(config, dataset.type).stage;
  const root = await realpath(stage).catch(() => stage);
  const path = dataset.staged_path ?? stagedPathOf(config, dataset);
  assertBelow(root, path, `the staged path of dataset ${dataset.id},`);
  // A link in its place is removed as a link; what may not happen is that a folder on the way leads elsewhere.
  const parent = await realpath(dirname(path)).catch(() => dirname(path));
  if (parent !== root) assertBelow(root, parent, `the folder of the staged path of dataset ${dataset.id},`);
  return path;
}

/** @throws E_NOT_ARCHIVED, E_WORKFLOW_STATE */
async function refuseIfNeeded({ records }: Store, dataset: Dataset): Promise<void> {
  if (dataset.archive_path === null) {
    throw new LongshoreError(
      'E_NOT_ARCHIVED',
      `dataset ${dataset.id} has no archived copy; the staged one may be the last`,
    );
  }
  const { results } = await records.listWorkflows({ dataset_id: dataset.id, status: 'ACTIVE' });
  const [working] = results;
  if (working === undefined) return;
  const { id, name } = working.workflow;
  throw new LongshoreError('E_WORKFLOW_STATE', `workflow ${id} (${name}) works on dataset ${dataset.id}`);
}

async function removeStaged(config: Config, dataset: Dataset, path: string): Promise<void> {
  const links = downloadLinksOf(config, dataset);
  const bundle = stagedBundleOf(config, dataset);
  await removeLink(links.tree, null);
  // Names of bundles are shared by what was deleted and what came after it: only the link that leads to ours.
  await removeLink(links.bundle, bundle);
  await removeTree(path);
  await removeTree(bundle);
  await removeEmpty(aliasFolderOf(config, dataset));
}

async function removeLink(path: string, target: string | null): Promise<void> {
  try {
    if (!(await lstat(path)).isSymbolicLink()) return;
    if (target === null || (await readlink(path)) === target) await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

async function removeEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT' && code !== 'ENOTEMPTY') throw error;
  }
}
