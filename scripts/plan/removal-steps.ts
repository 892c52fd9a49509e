/** Plans of the steps that remove: a purge takes the staged copy, a deletion everything that Longshore holds. */
import { lstatSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Archive } from '../../workers/archive/contract.ts';
import { archiveNamesOf, openArchive } from '../../workers/archive/index.ts';
import { heldCopy, whyNotHeldByAll } from '../../workers/archive/presence.ts';
import { isThere, type StagedCopy, stagedCopyThere } from '../../workers/content/staged-copy.ts';
import { roughSize } from '../../workers/dataset/byte-size.ts';
import { downloadLinksOf, qcFolderOf } from '../../workers/dataset/paths.ts';
import { pinOf, pinText } from '../../workers/dataset/pin.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import {
  coerceError,
  isLongshoreError,
  type LongshoreError,
  LongshoreError as Coded,
} from '../../workers/errors.ts';
import { assertGone, assertSource, NEVER_READ_BACK, originKept } from '../../workers/tasks/origin-removal.ts';
import { amountOf } from './rates.ts';
import type { Ground } from './ground.ts';
import type { Item } from './model.ts';
import { item, type Planner } from './step.ts';

export const planPurge: Planner = async (ground) => {
  const { config, dataset } = ground;
  const stops = await purgeStops(ground);
  const removes = stagedItems(
    dataset,
    safely(() => stagedCopyThere(config, dataset), stops),
  );
  return {
    stops,
    removes,
    notes: [
      ...(removes.length === 0 ? ['there is no staged copy; nothing is done'] : []),
      ...(ground.force ? ['--force: goes also without a proven copy in the archive'] : []),
    ],
    amount: { unit: 'files', amount: amountOf(dataset, 'files') },
  };
};

/** Why a purge would be refused; empty when it would not. */
export async function purgeStops(ground: Ground): Promise<LongshoreError[]> {
  const { dataset, force } = ground;
  const stops: LongshoreError[] = [];
  const pin = pinOf(dataset);
  if (pin !== null)
    stops.push(
      new Coded(
        'E_WORKFLOW_STATE',
        `the staged copy of dataset ${dataset.id} (${dataset.name}) is pinned ${pinText(pin)}`,
        {
          fields: { dataset_id: dataset.id, pinned: pin },
          hint: `Take the pin away first: longshore unpin ${dataset.id}.`,
        },
      ),
    );
  if (!force) stops.push(...(await archiveStops(ground)));
  return stops;
}

/** One copy that is there, whole and proven, is enough. */
async function archiveStops({ dataset, copies }: Ground): Promise<LongshoreError[]> {
  if (copies.length === 0)
    return [
      new Coded(
        'E_NOT_ARCHIVED',
        `dataset ${dataset.id} has no archived copy; the staged one may be the last`,
      ),
    ];
  try {
    await heldCopy(dataset, copies);
    return [];
  } catch (error) {
    if (isLongshoreError(error)) return [error];
    throw error;
  }
}

/**
 * As delete_source: the bundle was read back, or will be by a step before, and every archive of the policy must hold its
 * copy, whole, proven, and with nothing found against it.
 */
export const planDeleteSource: Planner = async ({ config, dataset, copies, coming }) => {
  const { origin_path, num_files } = dataset;
  const size = roughSize(dataset.size);
  const stops = await whyNotHeldByAll(config, dataset, copies);
  if (dataset.bundle?.verified_at === null && !coming.staged)
    stops.push(originKept(dataset, NEVER_READ_BACK));
  safely(() => assertSource({ config }, dataset), stops);
  const there = isThere(origin_path);
  if (!there && dataset.metadata.source_deleted_at == null) safely(() => assertGone(dataset), stops);
  const reads = [item('every file, compared with the manifest', origin_path, size, num_files)];
  return {
    stops,
    reads: there ? reads : [],
    removes: there ? [item('origin', origin_path, size, num_files)] : [],
    notes: there || stops.length > 0 ? [] : ['the origin is gone already'],
    amount: { unit: 'bytes', amount: there ? size : 0 },
  };
};

function stagedItems(dataset: Dataset, copy: StagedCopy | null): Item[] {
  if (copy === null) return [];
  const { trees, bundle, links, aliasFolder } = copy;
  return [
    item('link to the staged copy', links.tree, 0),
    item('link to the staged bundle', links.bundle, 0),
    ...trees.map((path) => item('staged copy', path, roughSize(dataset.size), dataset.num_files)),
    item('staged bundle', bundle, lstatSync(bundle, { throwIfNoEntry: false })?.size ?? null, 1),
    item('alias folder', aliasFolder, 0),
  ].filter(({ path }) => isThere(path));
}

/** As delete_dataset: every archive that may hold something of it. */
export const planDelete: Planner = async (ground) => {
  const { config, dataset } = ground;
  const stops: LongshoreError[] = [];
  const archived: Item[] = [];
  for (const { archive, key, size } of await archivedPlaces(ground)) {
    const answer = await ground.ask(archive, key);
    if ('error' in answer) stops.push(answer.error);
    else if (answer.found !== null)
      archived.push(
        item(`bundle and manifest in ${archive.name}`, archive.locate(key), answer.found.size ?? size, 2),
      );
  }
  const staged = stagedItems(
    dataset,
    safely(() => stagedCopyThere(config, dataset), stops),
  );
  const others = [
    item('link to the QC report', downloadLinksOf(config, dataset).report, 0),
    item('QC report', dirname(qcFolderOf(config, dataset))),
  ].filter(({ path }) => isThere(path));
  const pin = pinOf(dataset);
  return {
    stops,
    removes: [...archived, ...staged, ...others],
    notes: [
      `origin ${dataset.origin_path} (stays)`,
      ...(pin === null ? [] : [`it is pinned ${pinText(pin)}; a deletion does not ask for that`]),
    ],
    amount: { unit: 'files', amount: amountOf(dataset, 'files') },
  };
};

async function archivedPlaces({
  config,
  store,
  dataset,
}: Ground): Promise<{ archive: Archive; key: string; size: number | null }[]> {
  const recorded = await store.catalog.copies(dataset.id);
  const noted = [dataset.archive_path, dataset.metadata.archive_target].filter(
    (key) => typeof key === 'string',
  );
  const places = [
    ...recorded.map(({ archive, key, size }) => ({ name: archive, key, size })),
    ...noted.flatMap((key) =>
      archiveNamesOf(config, dataset.type).map((name) => ({ name, key, size: null })),
    ),
  ];
  const once = new Map(places.toReversed().map((place) => [`${place.name} ${place.key}`, place]));
  return [...once.values()].map(({ name, ...rest }) => ({ archive: openArchive(config, name), ...rest }));
}

/** Null, and its error among the stops. */
function safely<T>(make: () => T, stops: LongshoreError[]): T | null {
  try {
    return make();
  } catch (error) {
    stops.push(coerceError(error));
    return null;
  }
}
