/** Plans of the steps that read the origin. */
import { dirname } from 'node:path';
import { pathsOf } from '../../config/index.ts';
import { archivesOf } from '../../workers/archive/index.ts';
import { type Archive, manifestKey } from '../../workers/archive/contract.ts';
import { compareTree } from '../../workers/content/compare.ts';
import { isThere } from '../../workers/content/staged-copy.ts';
import { bundleEstimate } from '../../workers/dataset/estimates.ts';
import { archivePathOf } from '../../workers/dataset/paths.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Ground } from './ground.ts';
import type { Item, Need } from './model.ts';
import { item, type Planner } from './step.ts';

export const planAwaitStability: Planner = async ({ config, dataset }, kwargs) => {
  const { recency_threshold_seconds } = config.registration;
  const seconds = Number(kwargs.recency_threshold ?? 0) || recency_threshold_seconds;
  return {
    stops: originStops(dataset),
    notes: [`waits until nothing below ${dataset.origin_path} has changed for ${seconds} s`],
    amount: null,
  };
};

export const planInspect: Planner = async (ground, kwargs) => {
  const { config, dataset } = ground;
  const counts = await ground.counts();
  const digests = kwargs.digests ?? config.inspect.digests;
  const items = counts === null ? null : counts.num_files + counts.num_directories;
  const bytes = counts?.size ?? null;
  return {
    stops: originStops(dataset),
    reads: [
      item(
        digests === true ? 'every file' : 'names and sizes',
        dataset.origin_path,
        digests === true ? bytes : 0,
        counts?.num_files ?? null,
      ),
    ],
    amount: digests === true ? { unit: 'bytes', amount: bytes } : { unit: 'files', amount: items },
  };
};

/** As archive_dataset: packed where the bytes end up, and nothing is written again that is there and equals the origin. */
export const planArchive: Planner = async (ground) => {
  const { config, dataset } = ground;
  const counts = await ground.counts();
  const archives = archivesOf(config, dataset.type);
  const key = keyOf(ground);
  const size = counts === null ? null : bundleEstimate(counts, config.bundle);
  const stops: LongshoreError[] = originStops(dataset);
  const lacking: Archive[] = [];
  const notes: string[] = [];
  for (const archive of archives) {
    const answer = await ground.ask(archive, key);
    if ('error' in answer) stops.push(answer.error);
    const current = stops.length === 0 && (await isCurrent(archive, key, dataset));
    if (current) notes.push(`${archive.locate(key)} is there and equals the origin; it is not written again`);
    else if ('found' in answer && answer.found !== null)
      notes.push(`${archive.locate(key)} is there and is replaced if the origin has changed since`);
    if (!current) lacking.push(archive);
  }
  ground.coming.bundle = size ?? dataset.bundle?.size ?? null;
  const packed = lacking.length === archives.length;
  const writes = lacking.flatMap((archive) => bundleItems(archive, key, size));
  return {
    stops,
    notes,
    reads: packed
      ? [item('every file, once', dataset.origin_path, counts?.size ?? null, counts?.num_files ?? null)]
      : [item('names, sizes and times', dataset.origin_path, 0, counts?.num_files ?? null)],
    writes,
    needs: size === null ? [] : needsOf(ground, { archives, lacking, key, size }),
    amount: { unit: 'bytes', amount: packed ? (counts?.size ?? null) : null },
  };
};

function keyOf({ config, dataset }: Ground): string {
  const noted = dataset.metadata.archive_target;
  return (
    dataset.archive_path ??
    (typeof noted === 'string' && noted !== '' ? noted : archivePathOf(config, dataset))
  );
}

const bundleItems = (archive: Archive, key: string, size: number | null): Item[] => [
  item(`bundle in ${archive.name}`, archive.locate(key), size, 1),
  item('its manifest', archive.locate(manifestKey(key)), null, 1),
];

/** A bundle that no archive takes as a stream, or that several do, is made in a file first. */
function needsOf(
  { config, dataset }: Ground,
  {
    archives,
    lacking,
    key,
    size,
  }: { archives: readonly Archive[]; lacking: readonly Archive[]; key: string; size: number },
): Need[] {
  const needs = lacking.flatMap(({ local }) =>
    local === null ? [] : [{ folder: dirname(local.path(key)), bytes: size }],
  );
  const [only] = archives;
  const streamed = archives.length === 1 && only?.capabilities.stream === true;
  if (lacking.length === 0 || streamed || archives.some(({ local }) => local !== null)) return needs;
  return [...needs, { folder: pathsOf(config, dataset.type).bundle.generate, bytes: size }];
}

/** Only where it costs no transfer: the manifest lies in place. */
async function isCurrent(archive: Archive, key: string, dataset: Dataset): Promise<boolean> {
  const manifest = archive.local?.path(manifestKey(key));
  if (manifest === undefined || !isThere(manifest) || !isThere(archive.local?.path(key) ?? '')) return false;
  try {
    const { origin_path: root } = dataset;
    return (await compareTree({ root, manifest, level: 'stream', times: 'report' })).num_problems === 0;
  } catch (error) {
    if (coerceError(error).code === 'E_BUNDLE_CORRUPT') return false; // A damaged manifest is not believed: it is made anew.
    throw error;
  }
}

function originStops({ origin_path }: Dataset): LongshoreError[] {
  if (isThere(origin_path)) return [];
  const fields = { path: origin_path };
  return [new LongshoreError('E_ORIGIN_MISSING', `there is no directory at ${origin_path}`, { fields })];
}
