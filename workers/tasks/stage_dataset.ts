/** Brings a bundle back: read once, proven, kept as staged bundle, unpacked beside its place, then published. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathsOf } from '../../config/of.ts';
import { openManifest, statBundle } from '../archive/bundles.ts';
import { type Copy, copiesOf, firstServing } from '../archive/copies.ts';
import { fetchPlace } from '../archive/index.ts';
import { type FetchedBundle, fetchShared } from '../archive/shared-fetch.ts';
import { sizeOfFile } from '../content/files.ts';
import { keptHeaders } from '../content/kept-headers.ts';
import { type Away, whyUnmounted } from '../content/mounted.ts';
import {
  adoptPartial,
  partialPath,
  publishFile,
  publishTree,
  removeFile,
  removeStale,
} from '../content/publish.ts';
import { type Reservation, reserveSpace } from '../content/space.ts';
import { type RemoteBundle, type UnpackResult, unpackBundle } from '../content/unpack.ts';
import { UNPACK_SIDES } from '../content/unpack-kept.ts';
import { roughSize } from '../dataset/byte-size.ts';
import { treeEstimate } from '../dataset/estimates.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { aliasOf, fetchedBundleOf, stagedBundleOf, stagedPathOf } from '../dataset/paths.ts';
import type { Bundle, Dataset } from '../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { proofOf } from './bundle-copies.ts';
import { defineTask, type Postponement, postpone, type TaskContext, willGoOn } from './contract.ts';
import { stagedMeanwhile, turnTaken } from './dataset-turn.ts';
import { mayTransfer, transfersTaken } from './transfer-permit.ts';

/** Others may pass through the stage folder once the dataset is published; they may never list it. */
const FOLDER_MODE = 0o750;
/** At a stage folder that is not mounted. */
const LOOK_AGAIN_MS = 60_000;

export const task = defineTask({
  description: 'Reads the archived bundle back, proves it, and unpacks it into the stage folder.',
  run: async (ctx) => {
    const turn = await turnTaken(ctx);
    if (turn !== null) return turn;
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    if (stagedMeanwhile(ctx, dataset)) return [dataset.id];
    const { bundle } = recorded(dataset);
    const root = pathsOf(ctx.config, dataset.type).stage;
    const away = whyUnmounted(ctx.config.state_dir, root);
    if (away !== null) return later(away);
    const copies = copiesOf(ctx.config, dataset, await ctx.catalog.copies(dataset.id));
    const waiting = await transfersTaken(
      ctx,
      copies.slice(0, 1).map(({ archive }) => archive),
    );
    if (waiting !== null) return waiting;
    await firstServing(
      copies,
      (copy) => stageTwice(ctx, { dataset, bundle, copy }),
      (copy, error) => tell(ctx, copy, error),
    );
    await reachState(ctx.catalog, dataset.id, 'FETCHED', ctx.run.workflow_id);
    return [dataset.id];
  },
});

function later({ message, remedy }: Away): Postponement {
  const until = new Date(Date.now() + LOOK_AGAIN_MS);
  const waits = `waits: ${message}. ${remedy}`;
  return postpone(until, waits, { waits, code: 'E_STAGE_AWAY', next_attempt_at: until.toISOString() });
}

interface Staging {
  readonly dataset: Dataset;
  readonly bundle: Bundle;
  readonly copy: Copy;
}

/** A transfer that went wrong once was the network's fault more often than the archive's; twice, it is a finding. */
async function stageTwice(ctx: TaskContext, staging: Staging): Promise<void> {
  try {
    await stageFrom(ctx, staging);
  } catch (error) {
    ctx.signal.throwIfAborted();
    if (!isLongshoreError(error) || error.code !== 'E_TRANSFER') throw error;
    const { archive, key } = staging.copy;
    const about = { archive: archive.name, path: archive.locate(key), code: error.code };
    ctx.log.warn({ ...about, reason: error.message }, 'a transfer went wrong, and is repeated');
    await stageFrom(ctx, staging);
  }
}

async function stageFrom(ctx: TaskContext, staging: Staging): Promise<void> {
  const { dataset, bundle, copy } = staging;
  const { archive, key } = copy;
  if (!(await mayTransfer(ctx, archive))) {
    throw new LongshoreError(
      'E_ARCHIVE_UNAVAILABLE',
      `all transfers of the archive ${archive.name} are taken`,
    );
  }
  await archive.ensureReachable(key, { signal: ctx.signal });
  const places = await preparePlaces(ctx, staging);
  const reservations = await reserveBoth(ctx, dataset, bundle, places);
  const started = performance.now();
  let failure: unknown = null;
  try {
    const meter = ctx.progress('stage', { total: bundle.size, units: 'bytes' });
    const { unpacked, with_manifest } = await unpack(ctx, staging, places, (bytes) => {
      meter.set(bytes);
      for (const reservation of reservations) reservation.spent(bytes);
    });
    meter.end();
    for (const warning of unpacked.warnings) ctx.log.warn({ archive: archive.name, key }, warning);
    await ctx.lease.assert();
    if (places.bundlePartial !== null) publishFile(places.bundlePartial, places.bundle);
    await publishTree(unpacked.root, places.tree);
    const proven = with_manifest || Object.keys(expectedDigests(staging)).length > 0;
    const at = new Date().toISOString();
    if (proven) {
      const seconds = (performance.now() - started) / 1000;
      const found = { level: 'stream', bytes: unpacked.size, seconds, actor: 'stage' } as const;
      await ctx.catalog.addProof(proofOf(ctx, archive.name, key, found));
    }
    await ctx.catalog.patch(dataset.id, {
      staged_path: places.tree,
      metadata: { stage_alias: aliasOf(ctx.config, dataset) },
      ...(proven ? { bundle: { ...bundle, verified_at: at } } : {}),
    });
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    if (!willGoOn(ctx, failure)) await places.clear();
    for (const reservation of reservations) reservation.release();
  }
}

/** From wherever the bundle is: a file in place, bytes by the stream, or a file that must be fetched whole first. */
async function unpack(
  ctx: TaskContext,
  { dataset, bundle, copy }: Staging,
  places: Places,
  onBytes: (bytes: number) => void,
): Promise<{ unpacked: UnpackResult; with_manifest: boolean }> {
  const { archive, key } = copy;
  const { signal } = ctx;
  const found = await statBundle(archive, key);
  const manifest = await openManifest(archive, key, { scratch: ctx.config.paths.scratch, signal });
  const digests = expectedDigests({ bundle, copy });
  const common = {
    target: places.treePartial,
    expect: { size: bundle.size, digests, bytes: roughSize(dataset.size) },
    foreign: ctx.config.bundle,
    // Without a recorded digest of the bundle each member has to prove itself, whatever that costs.
    ...(Object.keys(digests).length > 0 ? {} : ({ verify: 'member' } as const)),
    resume: true,
    source: archive.locate(key),
    onResume: (kept: number) => ctx.log.info({ kept }, 'goes on with what an earlier attempt left'),
    signal,
    onProgress: ({ bytes }: { bytes: number }) => onBytes(bytes),
    ...(manifest === null ? {} : { manifest: manifest.path }),
  };
  const copyTo = places.bundlePartial === null ? {} : { copy: places.bundlePartial };
  try {
    if (archive.local !== null) {
      const unpacked = await unpackBundle({ ...common, ...copyTo, bundle: archive.local.path(key) });
      return { unpacked, with_manifest: manifest !== null };
    }
    if (archive.capabilities.range) {
      const remote: RemoteBundle = {
        name: archive.locate(key),
        size: found.size,
        open: (offset) => archive.read(key, { offset, signal }),
      };
      const unpacked = await unpackBundle({ ...common, ...copyTo, bundle: remote });
      return { unpacked, with_manifest: manifest !== null };
    }
    const fetched = await fetch(ctx, copy, { size: found.size, own: places.bundlePartial ?? places.fetched });
    try {
      const shared = fetched.path === places.bundlePartial ? {} : copyTo;
      const unpacked = await unpackBundle({ ...common, ...shared, bundle: fetched.path });
      return { unpacked, with_manifest: manifest !== null };
    } finally {
      await fetched.close();
    }
  } finally {
    manifest?.close();
  }
}

/** A recall or a proof of the same bundle may be at it already, or come meanwhile. */
async function fetch(
  ctx: TaskContext,
  { archive, key }: Copy,
  wanted: { size: number; own: string },
): Promise<FetchedBundle> {
  const meter = ctx.progress(`fetch from ${archive.name}`, { total: wanted.size, units: 'bytes' });
  const fetched = await fetchShared({
    archive,
    key,
    ...wanted,
    ...fetchPlace(ctx.config),
    fresh: true,
    signal: ctx.signal,
    onProgress: (bytes) => meter.set(bytes),
  });
  meter.end();
  return fetched;
}

/** What is wrong with a copy is said loudly and kept in the ledger, also when another copy serves. */
async function tell(ctx: TaskContext, { archive, key }: Copy, error: LongshoreError): Promise<void> {
  const result = RESULTS[error.code] ?? 'unavailable';
  const about = { archive: archive.name, path: archive.locate(key), code: error.code };
  // The digest is looked at before: an unsafe bundle is the one that was recorded, or nobody knows which one was.
  const unsafe = error.code === 'E_BUNDLE_UNSAFE';
  if (unsafe) ctx.log.error({ ...about, reason: error.message }, 'a copy holds what no dataset has');
  else if (result === 'unavailable')
    ctx.log.warn({ ...about, reason: error.message }, 'a copy cannot be read');
  else ctx.log.error({ ...about, reason: error.message }, 'a copy is damaged or missing');
  await ctx.catalog.addProof(
    proofOf(ctx, archive.name, key, {
      level: 'stream',
      result,
      bytes: 0,
      seconds: 0,
      actor: 'stage',
      details: { code: error.code, reason: error.message },
    }),
  );
}

const RESULTS: Readonly<Record<string, 'mismatch' | 'missing'>> = {
  E_BUNDLE_CORRUPT: 'mismatch',
  E_TRANSFER: 'mismatch',
  E_BUNDLE_MISSING: 'missing',
};

function recorded(dataset: Dataset): { bundle: Bundle } {
  if (dataset.archive_path !== null && dataset.bundle) return { bundle: dataset.bundle };
  throw new LongshoreError(
    'E_NOT_ARCHIVED',
    `dataset ${dataset.id} (${dataset.name}) has no archived bundle`,
    {
      fields: { dataset_id: dataset.id, archive_path: dataset.archive_path },
      hint: 'Archive it first: start the workflow "integrated" for it.',
    },
  );
}

/**
 * Older records hold only the md5, in its own column. Those of the copy count where the bundle has none; beside others they
 * would only be computed as well.
 */
function expectedDigests({ bundle, copy }: Pick<Staging, 'bundle' | 'copy'>): Record<string, string> {
  const known = bundle.md5 === null ? bundle.digests : { ...bundle.digests, md5: bundle.md5 };
  return Object.keys(known).length > 0 ? known : (copy.recorded?.digests ?? {});
}

interface Places {
  readonly tree: string;
  readonly treePartial: string;
  readonly bundle: string;
  /** null: the staged bundle is not kept. */
  readonly bundlePartial: string | null;
  /** Where a bundle is fetched that is not kept. */
  readonly fetched: string;
  /** The archive gives whole files only. */
  readonly fetches: boolean;
  clear(): Promise<void>;
}

/** Makes the folders, removes what earlier attempts left, and gives the names to work under. */
async function preparePlaces(ctx: TaskContext, { dataset, copy }: Staging): Promise<Places> {
  mkdirSync(dirname(dirname(stagedPathOf(ctx.config, dataset))), { recursive: true, mode: FOLDER_MODE });
  const tree = stagedPathOf(ctx.config, dataset); // Only now does the stage folder have a real path.
  const bundle = stagedBundleOf(ctx.config, dataset);
  const fetched = fetchedBundleOf(ctx.config, dataset);
  for (const path of [tree, bundle, fetched]) {
    mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE });
    await adoptPartial(path, ctx.run.task_id, UNPACK_SIDES);
  }
  const treePartial = partialPath(tree, ctx.run.task_id);
  const bundlePartial = ctx.config.stage.keep_bundle ? partialPath(bundle, ctx.run.task_id) : null;
  const fetchedPartial = partialPath(fetched, ctx.run.task_id);
  mkdirSync(treePartial, { recursive: true });
  return {
    tree,
    treePartial,
    bundle,
    bundlePartial,
    fetched: fetchedPartial,
    fetches: copy.archive.local === null && !copy.archive.capabilities.range,
    clear: async () => {
      await removeStale(tree);
      removeFile(fetchedPartial);
      removeFile(partialPath(bundle, ctx.run.task_id));
    },
  };
}

/** Both copies, before a byte moves. */
async function reserveBoth(
  ctx: TaskContext,
  dataset: Dataset,
  bundle: Bundle,
  places: Places,
): Promise<Reservation[]> {
  const { config } = ctx;
  const common = { keep: config.stage.reserve_bytes, state_dir: config.state_dir };
  // What an earlier attempt has written is on the disk already; of the tree about as much as of the bundle.
  const there =
    places.bundlePartial === null ? keptHeaders(places.treePartial).offset : sizeOfFile(places.bundlePartial);
  const wanted = [
    { folder: dirname(places.tree), bytes: treeEstimate(dataset, bundle.size, there) },
    ...(places.bundlePartial === null
      ? []
      : [{ folder: dirname(places.bundle), bytes: Math.max(0, bundle.size - there) }]),
    ...(places.bundlePartial === null && places.fetches
      ? [{ folder: dirname(places.fetched), bytes: Math.max(0, bundle.size - sizeOfFile(places.fetched)) }]
      : []),
  ];
  const held: Reservation[] = [];
  try {
    for (const want of wanted) held.push(reserveSpace({ ...common, ...want, holder: ctx.run.task_id }));
    return held;
  } catch (error) {
    for (const reservation of held) reservation.release();
    if (!willGoOn(ctx, error)) await places.clear();
    throw error;
  }
}
