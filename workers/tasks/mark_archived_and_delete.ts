/**
 * For datasets that another system archived: records the bundle that lies in the archive, and removes the origin. Nothing is
 * recorded or removed before that bundle was read whole, unpacked, and found equal to the origin, byte by byte.
 *
 * | kwargs         | meaning                                                                                          |
 * | -------------- | ------------------------------------------------------------------------------------------------ |
 * | `archive_path` | required: where the bundle lies, as `/archive/2023/raw_data/{name}.tar`; also `{id}` and `{type}` |
 * | `archive`      | name in config.archive.backends; default: the first archive of the dataset's type                |
 * | `size`, `md5`  | what the bundle must have, where it is known                                                     |
 * | `keep_source`  | true: record only                                                                                |
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { statBundle } from '../archive/bundles.ts';
import type { Archive, ArchivedObject } from '../archive/contract.ts';
import { archiveNamesOf, openArchive } from '../archive/index.ts';
import { type Inspection, inspectTree } from '../content/inspect.ts';
import { partialPath, removeFile, removeStale, removeTree } from '../content/publish.ts';
import { compareTrees, treeFingerprint } from '../content/compare/same-tree.ts';
import { reserveSpace } from '../content/space.ts';
import { unpackBundle, type UnpackResult } from '../content/unpack/unpack.ts';
import { resolveRoot } from '../content/walk.ts';
import { roughSize } from '../dataset/byte-size.ts';
import { memberDigestsOf } from '../dataset/digests.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { assertName, bundleName, stagedBundleOf } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';
import { proofOf } from './bundle-copies.ts';
import { defineTask, type TaskContext } from './contract.ts';
import { turnTaken } from './dataset-turn.ts';
import { isOriginThere, originKept, removeOrigin } from './origin-removal.ts';
import { transfersTaken } from './transfer-permit.ts';

const KNOWN: ReadonlySet<string> = new Set(['blake3', 'md5', 'sha256']);

interface Place {
  readonly archive: Archive;
  readonly key: string;
}

export const task = defineTask({
  description:
    'Records a bundle that another system archived and deletes the origin, once every byte of both was compared.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const place = placeOf(ctx, dataset);
    const waiting = (await turnTaken(ctx)) ?? (await transfersTaken(ctx, [place.archive]));
    if (waiting !== null) return waiting;
    refuseOther(dataset, place);
    let fingerprint = '';
    const look = async (root: string): Promise<void> => {
      fingerprint = await treeFingerprint(root, ctx.signal);
      await proveAndRecord(ctx, dataset, { ...place, root });
    };
    if (ctx.kwargs.keep_source === true) {
      await look(dataset.origin_path);
      return [dataset.id];
    }
    // Recorded by an attempt that was killed while it removed, or there is nothing to compare the bundle with.
    if (dataset.archive_path === null && !isOriginThere(dataset)) resolveRoot(dataset.origin_path);
    await removeOrigin(ctx, dataset, {
      action: 'dataset.mark_archived_and_delete',
      inPlace: async (root) => {
        await look(root);
        // That may have taken hours: a bundle or an archive that went away meanwhile keeps the origin.
        await statBundle(place.archive, place.key);
      },
      setAside: async (root) => {
        if ((await treeFingerprint(root, ctx.signal)) !== fingerprint)
          throw originKept(dataset, 'it was changed while it was compared with its bundle');
      },
    });
    return [dataset.id];
  },
});

/** @throws E_USAGE: which bundle belongs to a dataset is never guessed */
function placeOf({ config, kwargs }: TaskContext, dataset: Dataset): Place {
  const { archive_path: pattern, archive: named } = kwargs;
  if (typeof pattern !== 'string' || !/\{(name|id)\}/.test(pattern))
    throw new LongshoreError(
      'E_USAGE',
      `archive_path is ${JSON.stringify(pattern)}; expected a path with {name} or {id} in it, as "/archive/2023/raw_data/{name}.tar"`,
      { hint: 'Name it in the kwargs of the step or of the start.' },
    );
  const [usual] = archiveNamesOf(config, dataset.type);
  const name = named ?? usual;
  if (typeof name !== 'string' || config.archive.backends[name] === undefined)
    throw new LongshoreError(
      'E_USAGE',
      `archive is ${JSON.stringify(name)}; expected one of ${Object.keys(config.archive.backends).join(', ')}`,
    );
  const key = pattern
    .replaceAll('{name}', assertName(dataset.name))
    .replaceAll('{id}', String(dataset.id))
    .replaceAll('{type}', dataset.type);
  return { archive: openArchive(config, name), key };
}

/** One that is recorded elsewhere already has its own proof, and its own way of deleting the origin: delete_source. */
function refuseOther(dataset: Dataset, { key }: Place): void {
  const { archive_path } = dataset;
  if (archive_path === null || archive_path === key) return;
  throw originKept(dataset, `it is archived already, as ${archive_path}, and not as ${key}`);
}

/** Unpacks the bundle beside nothing that is in use, compares, and records what was found. */
async function proveAndRecord(
  ctx: TaskContext,
  dataset: Dataset,
  { archive, key, root }: Place & { root: string },
): Promise<void> {
  const { config, run } = ctx;
  const there = await statBundle(archive, key);
  assertStated(ctx, dataset, there);
  const { scratch } = config.paths;
  const place = join(scratch, `${dataset.name}.${dataset.type}.marked`);
  const target = partialPath(place, run.task_id);
  makeFolders(scratch);
  await removeStale(place);
  const room = reserveSpace({
    folder: scratch,
    bytes: there.size,
    keep: config.stage.reserve_bytes,
    state_dir: config.state_dir,
    holder: run.task_id,
  });
  const started = performance.now();
  try {
    mkdirSync(target);
    const to = { target, bytes: roughSize(dataset.size) };
    const unpacked = await unpackWhole(ctx, { archive, key }, there, to);
    await assertEqual(ctx, dataset, { archived: unpacked.root, root });
    const counted = await recordFiles(ctx, dataset, unpacked.root);
    const seconds = (performance.now() - started) / 1000;
    await record(ctx, dataset, { archive, key, unpacked, counted, seconds });
  } finally {
    await removeTree(target);
    await removeStale(place);
    room.release();
  }
}

/** What the person said of the bundle. @throws E_NOT_ARCHIVED, E_USAGE */
function assertStated({ kwargs }: TaskContext, dataset: Dataset, there: ArchivedObject): void {
  const { size, md5 } = kwargs;
  if (size !== undefined && size !== there.size)
    throw originKept(dataset, `its bundle has ${there.size} bytes, expected ${JSON.stringify(size)}`);
  if (md5 === undefined || (typeof md5 === 'string' && /^[0-9a-f]{32}$/.test(md5))) return;
  throw new LongshoreError('E_USAGE', `md5 is ${JSON.stringify(md5)}; expected 32 hexadecimal digits`);
}

/** Reads it once: size and every digest that the archive or the person states must hold. @throws E_BUNDLE_CORRUPT */
async function unpackWhole(
  ctx: TaskContext,
  { archive, key }: Place,
  there: ArchivedObject,
  { target, bytes }: { target: string; bytes: number | null },
): Promise<UnpackResult> {
  const { signal, kwargs } = ctx;
  const stated = { ...there.digests, ...(typeof kwargs.md5 === 'string' ? { md5: kwargs.md5 } : {}) };
  // An archive may state others that nobody here computes.
  const digests = Object.fromEntries(Object.entries(stated).filter(([name]) => KNOWN.has(name)));
  const meter = ctx.progress('unpack', { total: there.size, units: 'bytes' });
  const bundle =
    archive.local === null
      ? {
          name: archive.locate(key),
          size: there.size,
          open: (offset: number) => archive.read(key, { offset, signal }),
        }
      : archive.local.path(key);
  const unpacked = await unpackBundle({
    bundle,
    target,
    expect: { size: there.size, digests, bytes },
    digests: ['md5', ...ctx.config.digests.bundle],
    foreign: ctx.config.bundle,
    signal,
    onProgress: ({ bytes }) => meter.set(bytes),
  });
  meter.end();
  return unpacked;
}

async function assertEqual(
  ctx: TaskContext,
  dataset: Dataset,
  { archived, root }: { archived: string; root: string },
): Promise<void> {
  const meter = ctx.progress('compare', { total: roughSize(dataset.size), units: 'bytes' });
  const { problems, num_problems } = await compareTrees(archived, root, {
    signal: ctx.signal,
    onProgress: (bytes) => meter.set(bytes),
  });
  meter.end();
  const [first] = problems;
  if (first === undefined) return;
  throw originKept(dataset, `it differs from its bundle (${first[0]}: ${first[1]})`, {
    total: num_problems,
    problems,
  });
}

/** What a later staging is held against: a bundle of others has no manifest, and the origin is gone by then. */
async function recordFiles(ctx: TaskContext, { id }: Dataset, root: string): Promise<Inspection> {
  const { config, catalog, signal, run } = ctx;
  const generation = `mark ${run.task_id}.${run.attempt}`;
  const counted = await inspectTree({
    root,
    genome_file_types: config.genome_file_types,
    batch_size: config.inspect.file_metadata_batch_size,
    digests: memberDigestsOf(config, catalog),
    signal,
    onFiles: (rows) => catalog.putFiles(id, rows, generation),
  });
  await catalog.sweepFiles(id, generation, (wait) => ctx.report({ ...wait }));
  return counted;
}

async function record(
  ctx: TaskContext,
  dataset: Dataset,
  found: Place & { unpacked: UnpackResult; counted: Inspection; seconds: number },
): Promise<void> {
  const { archive, key, unpacked, counted, seconds } = found;
  const { size, digests } = unpacked;
  const { du_size, num_files, num_directories, num_genome_files, hole_bytes } = counted;
  const now = new Date().toISOString();
  await ctx.lease.assert();
  await ctx.catalog.putCopy(dataset.id, { archive: archive.name, key, size, digests, stored_at: now });
  const proof = { level: 'stream', bytes: size, seconds, actor: 'mark_archived_and_delete' } as const;
  await ctx.catalog.addProof(proofOf(ctx, archive.name, key, proof));
  await ctx.catalog.patch(dataset.id, {
    archive_path: key,
    du_size,
    size: counted.size,
    num_files,
    num_directories,
    metadata: { num_genome_files, hole_bytes },
    bundle: { name: bundleName(dataset), size, md5: digests.md5 ?? null, digests, verified_at: now },
  });
  await reachState(ctx.catalog, dataset.id, 'ARCHIVED', ctx.run.workflow_id);
  // Left from before it was recorded, where nobody downloads it: the next stage brings the one of the archive.
  if (!dataset.is_staged) removeFile(stagedBundleOf(ctx.config, dataset));
}
