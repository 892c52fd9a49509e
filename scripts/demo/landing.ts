import type { Config } from '../../config/index.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import type { Store } from '../../workers/store.ts';
import { type Followed, failureOf, failureText, isDone } from '../cli/progress.ts';
import { type Expected, recordedName } from './sources.ts';

/** What has become of one expected folder. */
export interface Landing {
  readonly expected: Expected;
  readonly dataset: Dataset | null;
  readonly workflows: readonly Followed[];
}

/** The workflows of the expected datasets, oldest first; asked at each look, so that followers join. */
export async function workflowIds(store: Store, config: Config): Promise<string[]> {
  const { results } = await store.records.listWorkflows({
    app_id: config.app_id,
    limit: 100_000,
    sort_order_asc: true,
  });
  return results.map(({ workflow }) => workflow.id);
}

export async function landingsOf(
  store: Store,
  expected: readonly Expected[],
  followed: readonly Followed[],
): Promise<Landing[]> {
  const { datasets } = await store.catalog.list({ limit: 100_000 });
  const landings: Landing[] = [];
  for (const one of expected) {
    // By the name too: a folder and a link to it are two datasets of one origin.
    const found = datasets.find(
      ({ origin_path, type, name }) =>
        origin_path === one.origin && type === one.type && name === recordedName(one.folder),
    );
    const dataset =
      found === undefined
        ? null
        : await store.catalog.get(found.id, { bundle: true, states: true, workflows: true });
    const ids = new Set(dataset?.workflows?.map(({ id }) => id));
    landings.push({ expected: one, dataset, workflows: followed.filter(({ id }) => ids.has(id)) });
  }
  return landings;
}

/** All has ended that will come: each expected dataset's first workflow, and what follows a success. */
export function isOver(followed: readonly Followed[], expected: number, config: Config): boolean {
  const first = followed.filter(({ workflow }) => workflow.name === config.registration.workflow);
  if (first.length < expected || !followed.every(({ workflow }) => isDone(workflow.status))) return false;
  const followers = config.workflow_registry[config.registration.workflow]?.then ?? [];
  const succeeded = first.filter(({ workflow }) => workflow.status === 'SUCCESS');
  return followed.length >= first.length + succeeded.length * followers.length;
}

/** Why it did not land, with what to do about it; null when all its workflows succeeded. */
export function failureOfLanding({ dataset, workflows }: Landing): { text: string; hint: string } | null {
  if (dataset === null) {
    return { text: 'was not registered', hint: 'See watch.log in the log folder for the reason.' };
  }
  for (const { workflow } of workflows) {
    if (workflow.status === 'SUCCESS') continue;
    const step = workflow.steps[workflow.steps_done];
    const failure = failureOf(step?.last_task_run);
    const text = failure === null ? `is ${workflow.status}` : failureText(failure);
    return { text: `${workflow.name}/${step?.name}: ${text}`, hint: failure?.hint ?? '' };
  }
  return null;
}
