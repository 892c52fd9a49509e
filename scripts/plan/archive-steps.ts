/** Plans of the steps that read the origin. */
import { dirname } from 'node:path';
import { pathsOf } from '../../config/index.ts';
import { archivesOf } from '../../workers/archive/index.ts';
import { type Archive, manifestKey } from '../../workers/archive/contract.ts';
import { compareTree } from '../../workers/content/compare/compare.ts';
import { checkManifest } from '../../workers/content/manifest.ts';
import { isThere } from '../../workers/content/staged-copy.ts';
import { bundleEstimate } from '../../workers/dataset/estimates.ts';
import { archivePathOf } from '../../workers/dataset/paths.ts';
import { type Dataset, openFinding } from '../../workers/dataset/types.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import { isReliedOn, whyReduced } from '../../workers/tasks/reduced-origin.ts';
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
  const stops: LongshoreError[] = [];
  const lacking: Archive[] = [];
  const notes: string[] = [];
  let reduced: LongshoreError | null = null;
  let source: Item | null = null;
  for (const archive of archives) {
    const answer = await ground.ask(archive, key);
    if ('error' in answer) stops.push(answer.error);
    const there = 'found' in answer ? answer.found : null;
    const copy = ground.copies.find((one) => one.archive.name === archive.name && one.key === key);
    const finding = copy?.recorded == null ? null : openFinding(copy.recorded);
    const where = archive.locate(key);
    const held = stops.length > 0 || there === null ? null : await heldAt(archive, key, dataset, there.size);
    const current = finding === null && held !== null && held.equal;
    reduced ??= held?.reduced ?? null;
    const same = isThere(dataset.origin_path) ? 'the origin' : 'what is recorded';
    if (current) notes.push(`${where} is there and equals ${same}; it is not written again`);
    else if (finding !== null)
      notes.push(`${where} was found ${finding.result} at ${finding.at}; it is written anew and read back`);
    else if (there !== null) notes.push(`${where} is there and is replaced if it differs from the origin`);
    if (current && there !== null) source ??= copyRead(archive, key, there.size);
    else lacking.push(archive);
  }
  const packed = lacking.length === archives.length;
  // A copy that an archive lacks comes from one that has it, also when the origin is gone.
  if (packed) stops.push(...originStops(dataset));
  if (packed && reduced !== null && (await isReliedOn(ground.store.catalog, dataset))) {
    if (ground.force) notes.push(`--force: ${reduced.message}`);
    else stops.push(reduced);
  }
  ground.coming.bundle = size ?? dataset.bundle?.size ?? null;
  const writes = lacking.flatMap((archive) => bundleItems(archive, key, size));
  return {
    stops,
    notes,
    reads: [
      ...readsOf(dataset, counts, packed),
      ...(source === null || lacking.length === 0 ? [] : [source]),
    ],
    writes,
    needs: size === null ? [] : needsOf(ground, { archives, lacking, key, size }),
    amount: { unit: 'bytes', amount: packed ? (counts?.size ?? null) : null },
  };
};

function readsOf(
  { origin_path }: Dataset,
  counts: Awaited<ReturnType<Ground['counts']>>,
  packed: boolean,
): Item[] {
  const files = counts?.num_files ?? null;
  if (packed) return [item('every file, once', origin_path, counts?.size ?? null, files)];
  return isThere(origin_path) ? [item('names, sizes and times', origin_path, 0, files)] : [];
}

/** Other copies are made from it. It is proven before: by a read of its own where the archive states no digest. */
function copyRead(archive: Archive, key: string, size: number): Item {
  const twice = archive.capabilities.digest === null;
  const what = `bundle in ${archive.name}, ${twice ? 'twice: proven and copied' : 'once'}`;
  return item(what, archive.locate(key), twice ? 2 * size : size, 1);
}

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

/** As bundleIn of archive_dataset; only where it costs no transfer: the manifest lies in place. Null: it cannot tell. */
async function heldAt(
  archive: Archive,
  key: string,
  dataset: Dataset,
  size: number,
): Promise<{ equal: boolean; reduced: LongshoreError | null } | null> {
  const manifest = archive.local?.path(manifestKey(key));
  if (manifest === undefined || !isThere(manifest)) return null;
  try {
    const whole = checkManifest(manifest).bundle.size === size;
    if (!isThere(dataset.origin_path))
      return { equal: whole && dataset.bundle?.size === size, reduced: null };
    const { origin_path: root } = dataset;
    const compared = await compareTree({ root, manifest, level: 'stream', times: 'report' });
    return { equal: whole && compared.num_problems === 0, reduced: whyReduced(dataset, compared) };
  } catch (error) {
    if (coerceError(error).code === 'E_BUNDLE_CORRUPT') return null; // A damaged manifest is not believed: it is made anew.
    throw error;
  }
}

function originStops({ origin_path }: Dataset): LongshoreError[] {
  if (isThere(origin_path)) return [];
  const fields = { path: origin_path };
  return [new LongshoreError('E_ORIGIN_MISSING', `there is no directory at ${origin_path}`, { fields })];
}
