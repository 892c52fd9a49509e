/**
 * Records a bundle that lies in an archive and that the catalog does not know, from its manifest alone: for a catalog that was
 * lost, or set back to a backup from before the dataset was landed. No origin is needed, and nothing is written to the archive.
 */
import { basename, join } from 'node:path';
import { existsSync } from 'node:fs';
import { type Config, registrationOf } from '../../config/index.ts';
import { openManifest, statBundle } from '../../workers/archive/bundles.ts';
import { openArchive } from '../../workers/archive/index.ts';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { namesIn } from '../../workers/content/publish.ts';
import { manifestFileRows } from '../../workers/content/file-rows.ts';
import { checkManifest, type ManifestTrailer } from '../../workers/content/manifest.ts';
import { byteSize } from '../../workers/dataset/byte-size.ts';
import { normaliseName } from '../../workers/dataset/name.ts';
import { assertName, bundleName } from '../../workers/dataset/paths.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { Store } from '../../workers/store.ts';
import { datasetNameOf } from '../../workers/watch/registration.ts';

export interface BundleToAdopt {
  /** As `archive_path` has it: the path of the bundle in its archive. */
  readonly key: string;
  readonly type: string;
  readonly archive: string;
}

export interface Adopted {
  readonly outcome: 'adopted' | 'would adopt' | 'present';
  readonly key: string;
  readonly name: string;
  /** Null in a dry run, where there is none yet. */
  readonly dataset_id: number | null;
  readonly size: number;
  readonly files: number;
}

interface Ground {
  readonly config: Config;
  readonly store: Store;
}

/**
 * May be repeated, and be killed anywhere: what the dataset is found by (`archive_path`) is recorded last.
 *
 * @throws E_BUNDLE_MISSING, E_BUNDLE_UNKNOWN, E_BUNDLE_CORRUPT, E_DATASET_EXISTS, E_WORKFLOW_STATE
 */
export async function adopt(
  { config, store }: Ground,
  bundle: BundleToAdopt,
  { actor, dry_run }: { actor: string; dry_run: boolean },
): Promise<Adopted> {
  const { key, type } = bundle;
  const name = nameOf(key);
  const archive = openArchive(config, bundle.archive);
  await archive.ensureReachable(key);
  const { size } = await statBundle(archive, key);
  const manifest = await openManifest(archive, key, { scratch: config.paths.scratch });
  if (manifest === null) throw without(archive.locate(key));
  try {
    const trailer = checkManifest(manifest.path);
    if (trailer.bundle.size !== size) throw cutShort(archive.locate(key), size, trailer);
    const known = await knownAs(store, { name, type, bundle });
    const about = { key, name, size, files: trailer.counts.num_files };
    if (known === 'present')
      return { ...about, outcome: 'present', dataset_id: await idOf(store, name, type) };
    if (dry_run) return { ...about, outcome: 'would adopt', dataset_id: known?.id ?? null };
    const dataset = known ?? (await register(config, store.catalog, { name, type, actor }));
    await record(config, store.catalog, { dataset, bundle, trailer, manifest: manifest.path });
    await store.records.audit({
      actor,
      action: 'dataset.adopt',
      subject: `dataset:${dataset.id}`,
      details: { archive: bundle.archive, key, size },
    });
    return { ...about, outcome: 'adopted', dataset_id: dataset.id };
  } finally {
    manifest.close();
  }
}

/** Of the dataset, whose name its bundle has. @throws E_USAGE, E_NAME_UNSAFE */
function nameOf(key: string): string {
  const file = basename(key);
  if (file.endsWith('.tar') && file !== '.tar') return assertName(file.slice(0, -'.tar'.length));
  throw new LongshoreError('E_USAGE', `${key} names no bundle; expected a path that ends in NAME.tar`);
}

/** Null: nothing in the catalog has this name and type. */
async function knownAs(
  { catalog, records }: Store,
  { name, type, bundle }: { name: string; type: string; bundle: BundleToAdopt },
): Promise<Dataset | 'present' | null> {
  const dataset = await alive(catalog, name, type);
  if (dataset === undefined) return null;
  const { id, archive_path } = dataset;
  if (archive_path !== null && archive_path !== bundle.key)
    throw new LongshoreError(
      'E_DATASET_EXISTS',
      `dataset ${id} (${name}) is recorded with another bundle, ${archive_path}`,
      {
        fields: { dataset_id: id, archive_path },
        hint: 'Rename one of the two, or leave this one unrecorded.',
      },
    );
  const copies = await catalog.copies(id);
  if (archive_path !== null && copies.some((copy) => copy.archive === bundle.archive)) return 'present';
  const { results } = await records.listWorkflows({ dataset_id: id, status: 'ACTIVE', limit: 1 });
  const [at_work] = results;
  if (at_work === undefined) return dataset;
  const { id: workflow_id, name: workflow } = at_work.workflow;
  throw new LongshoreError(
    'E_WORKFLOW_STATE',
    `workflow ${workflow_id} (${workflow}) works on dataset ${id}`,
    {
      fields: { dataset_id: id, workflow_id },
      hint: 'Wait for its end, or revoke it; then adopt the bundle.',
    },
  );
}

async function alive(catalog: Catalog, name: string, type: string): Promise<Dataset | undefined> {
  const { datasets } = await catalog.list({ name: normaliseName(name), match_name_exact: true, type });
  return datasets[0];
}

const idOf = async ({ catalog }: Store, name: string, type: string): Promise<number | null> =>
  (await alive(catalog, name, type))?.id ?? null;

/** Without a workflow: its origin may be gone long since. */
async function register(
  config: Config,
  catalog: Catalog,
  { name, type, actor }: { name: string; type: string; actor: string },
): Promise<Dataset> {
  const dataset = { name, type, origin_path: originOf(config, type, name), create_method: 'IMPORT' as const };
  const [answer] = await catalog.register([{ dataset }], actor);
  if (answer?.outcome === 'created') return answer.dataset;
  if (answer?.outcome === 'errored') throw answer.error;
  throw new LongshoreError('E_DATASET_EXISTS', `somebody else registered ${name} at this moment`);
}

/**
 * Where it was found, as far as that can be known: a watcher that sees the folder knows it then. Its own name may have had
 * other characters than that of the dataset.
 */
function originOf(config: Config, type: string, name: string): string {
  const folders = [registrationOf(config, type).source_dir].flat();
  for (const folder of folders) {
    if (existsSync(join(folder, name))) return join(folder, name);
    const same = namesIn(folder).find((entry) => normaliseName(datasetNameOf(entry)) === name);
    if (same !== undefined) return join(folder, same);
  }
  return join(folders[0] ?? '/', name);
}

async function record(
  config: Config,
  catalog: Catalog,
  parts: { dataset: Dataset; bundle: BundleToAdopt; trailer: ManifestTrailer; manifest: string },
): Promise<void> {
  const { dataset, bundle, trailer, manifest } = parts;
  const { size, digests } = trailer.bundle;
  const generation = `adopt ${bundle.archive}:${bundle.key}`;
  let held = 0n;
  for await (const rows of manifestFileRows(manifest, config.inspect.file_metadata_batch_size)) {
    await catalog.putFiles(dataset.id, rows, generation);
    for (const row of rows) held += BigInt(row.size);
  }
  await catalog.sweepFiles(dataset.id, generation);
  const { archive, key } = bundle;
  await catalog.putCopy(dataset.id, { archive, key, size, digests, stored_at: new Date().toISOString() });
  await catalog.addState(dataset.id, 'ARCHIVED', { adopted: true });
  const { num_files, num_directories } = trailer.counts;
  await catalog.patch(dataset.id, {
    archive_path: key,
    size: byteSize(held),
    num_files,
    num_directories,
    // Its origin may have been given up long since (workers/tasks/reduced-origin.ts).
    metadata: { adopted_at: new Date().toISOString() },
    // Not proven yet: that the manifest fits is no proof of the bytes.
    bundle: { name: bundleName(dataset), size, md5: digests.md5 ?? null, digests, verified_at: null },
  });
}

const without = (where: string): LongshoreError =>
  new LongshoreError('E_BUNDLE_UNKNOWN', `${where} has no manifest, so it is no bundle that Longshore made`, {
    fields: { path: where },
    hint: 'Register its origin; docs/scripts.md tells how bundles of another system are taken over.',
  });

const cutShort = (where: string, size: number, { bundle }: ManifestTrailer): LongshoreError =>
  new LongshoreError('E_BUNDLE_CORRUPT', `${where} has ${size} bytes, its manifest tells of ${bundle.size}`, {
    fields: { path: where, size, expected: bundle.size },
  });
