/** Which staged copies ought to go: those that have outlived their days, then those that a full file system needs gone. */
import { type Config, daysToLive } from '../../config/index.ts';
import { pinOf } from '../../workers/dataset/pin.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import type { Store } from '../../workers/store.ts';
import { bytes } from '../cli/format.ts';
import {
  chooseForSpace,
  freedBy,
  type StageFileSystem,
  type Staged,
  stageFileSystems,
  usedPercent,
} from './pressure.ts';

export interface Candidate {
  readonly dataset: Dataset;
  readonly staged_at: string | null;
  /** For the history of the dataset. */
  readonly reason: string;
  /** It goes for the sake of this file system, and stays when that has room meanwhile. */
  readonly full: StageFileSystem | null;
}

export interface Choice {
  /** By age, then for space; among these the one that was staged longest ago first. */
  readonly candidates: readonly Candidate[];
  /** Would have been among them. */
  readonly pinned: number;
  readonly file_systems: readonly StageFileSystem[];
}

/** @param days instead of the configured lifetimes */
export async function chooseCandidates(config: Config, store: Store, days: number | null): Promise<Choice> {
  const aged = await agedDatasets(config, store, days);
  const byAge = aged.filter(({ dataset }) => pinOf(dataset) === null);
  const { pressure } = config.stage.purge;
  const file_systems = pressure === null ? [] : stageFileSystems(config);
  const pinned = aged.length - byAge.length;
  const full = file_systems.some((one) => usedPercent(one) > (pressure?.high_percent ?? 100));
  if (pressure === null || !full) return { candidates: byAge, pinned, file_systems };
  const gone = new Set(byAge.map(({ dataset }) => dataset.id));
  const freed: Record<string, number> = {};
  for (const { dataset } of byAge)
    for (const [device, amount] of Object.entries(freedBy(config, dataset)))
      freed[device] = (freed[device] ?? 0) + amount;
  const rest = (await stagedDatasets(config, store)).filter(
    ({ dataset }) => !gone.has(dataset.id) && pinOf(dataset) === null,
  );
  const forSpace = chooseForSpace(file_systems, rest, pressure, { now: Date.now(), freed });
  return {
    pinned,
    file_systems,
    candidates: [
      ...byAge,
      ...forSpace.map(({ staged, full: one }) => ({
        dataset: staged.dataset,
        staged_at: staged.staged_at,
        reason: `${one.path} is ${usedPercent(one).toFixed(1)}% full, above ${pressure.high_percent}%: ${bytes(staged.frees[one.device])} on the way to ${pressure.low_percent}%`,
        full: one,
      })),
    ],
  };
}

async function agedDatasets(config: Config, store: Store, days: number | null): Promise<Candidate[]> {
  const found: Candidate[] = [];
  for (const type of config.dataset_types) {
    const lifetime = days ?? daysToLive(config, type);
    const { datasets } = await store.catalog.list({ type, days_since_last_staged: lifetime });
    for (const dataset of datasets) {
      const staged_at = await lastStaged(store, dataset);
      const reason = `staged ${staged_at?.slice(0, 10) ?? 'nobody knows when'}, lives ${lifetime} days`;
      found.push({ dataset, staged_at, reason, full: null });
    }
  }
  return found.toSorted(longestAgoFirst);
}

async function stagedDatasets(config: Config, store: Store): Promise<Staged[]> {
  const found: Staged[] = [];
  for (const type of config.dataset_types) {
    const { datasets } = await store.catalog.list({ type, staged: true });
    for (const dataset of datasets)
      found.push({ dataset, staged_at: await lastStaged(store, dataset), frees: freedBy(config, dataset) });
  }
  return found.toSorted(longestAgoFirst);
}

async function lastStaged({ catalog }: Store, { id }: Dataset): Promise<string | null> {
  return (await catalog.states(id)).find(({ state }) => state === 'STAGED')?.timestamp ?? null;
}

/** Never staged as far as the states tell: before all others. */
const longestAgoFirst = (a: Pick<Candidate, 'staged_at'>, b: Pick<Candidate, 'staged_at'>): number =>
  (a.staged_at ?? '').localeCompare(b.staged_at ?? '');
