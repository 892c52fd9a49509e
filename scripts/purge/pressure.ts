/** Which staged copies go before their time, because the file system that holds them is full. */
import { lstatSync, statfsSync } from 'node:fs';
import { type Config, pathsOf } from '../../config/index.ts';
import { deviceOf, nearestFolder } from '../../workers/content/space.ts';
import { stagedBundleOf } from '../../workers/dataset/paths.ts';
import type { Dataset } from '../../workers/dataset/types.ts';

const DAY_MS = 86_400_000;

export type Pressure = NonNullable<Config['stage']['purge']['pressure']>;

export interface StageFileSystem {
  readonly device: string;
  /** A folder on it, for people. */
  readonly path: string;
  readonly used: number;
  /** Used, and what a user who is not root may still use: as `df` counts. */
  readonly total: number;
}

/** What a purge of it frees, by file system. */
export interface Staged {
  readonly dataset: Dataset;
  /** Null: never, as far as the states tell. */
  readonly staged_at: string | null;
  readonly frees: Readonly<Record<string, number>>;
}

export const usedPercent = ({ used, total }: StageFileSystem): number =>
  total === 0 ? 0 : (100 * used) / total;

/** The file systems of all stage and bundle folders, each once. */
export function stageFileSystems(config: Config): StageFileSystem[] {
  const found = new Map<string, StageFileSystem>();
  for (const type of config.dataset_types) {
    const { stage, bundle } = pathsOf(config, type);
    for (const folder of [stage, bundle.stage]) {
      const path = nearestFolder(folder);
      const device = deviceOf(path);
      if (!found.has(device)) found.set(device, measure(device, path));
    }
  }
  return [...found.values()];
}

export const measureAgain = ({ device, path }: StageFileSystem): StageFileSystem => measure(device, path);

function measure(device: string, path: string): StageFileSystem {
  const { blocks, bfree, bavail, bsize } = statfsSync(path);
  const used = (blocks - bfree) * bsize;
  return { device, path, used, total: used + bavail * bsize };
}

/** Tree by its recorded size, bundle by that of its file: the tree may have a million members. */
export function freedBy(config: Config, dataset: Dataset): Record<string, number> {
  const frees: Record<string, number> = {};
  const add = (path: string, bytes: number): void => {
    const device = deviceOf(nearestFolder(path));
    frees[device] = (frees[device] ?? 0) + bytes;
  };
  add(dataset.staged_path ?? pathsOf(config, dataset.type).stage, Number(dataset.size ?? 0));
  const bundle = stagedBundleOf(config, dataset);
  const there = lstatSync(bundle, { throwIfNoEntry: false });
  if (there?.isFile() === true) add(bundle, there.blocks * 512);
  return frees;
}

export const mayGo = ({ staged_at }: Pick<Staged, 'staged_at'>, min_age_days: number, now: number): boolean =>
  staged_at === null || now - Date.parse(staged_at) >= min_age_days * DAY_MS;

/**
 * Those staged longest ago, until what they free brings each file system that is above `high_percent` down to
 * `low_percent`. A copy that frees nothing on a full one stays.
 * @param staged the one staged longest ago first; those that are gone already, by age, are left out and in `freed`
 */
export function chooseForSpace(
  fileSystems: readonly StageFileSystem[],
  staged: readonly Staged[],
  { high_percent, low_percent, min_age_days }: Pressure,
  { now, freed }: { now: number; freed: Readonly<Record<string, number>> },
): { staged: Staged; full: StageFileSystem }[] {
  const missing = new Map(
    fileSystems
      .map((one) => ({ ...one, used: one.used - (freed[one.device] ?? 0) }))
      .filter((one) => usedPercent(one) > high_percent)
      .map((one) => [one.device, { full: one, bytes: one.used - (one.total * low_percent) / 100 }]),
  );
  const chosen: { staged: Staged; full: StageFileSystem }[] = [];
  for (const one of staged) {
    if (!mayGo(one, min_age_days, now)) continue;
    const helped = [...missing.values()].find(
      ({ full, bytes }) => bytes > 0 && (one.frees[full.device] ?? 0) > 0,
    );
    if (helped === undefined) continue;
    for (const [device, need] of missing) need.bytes -= one.frees[device] ?? 0;
    chosen.push({ staged: one, full: helped.full });
  }
  return chosen;
}
