/** Brings a bundle back: read once, proven, kept as staged bundle, unpacked beside its place, then published. */
import { pathsOf } from '../../config/of.ts';
import { type Copy, copiesOf, firstServing } from '../archive/copies.ts';
import { faultyTransfer } from '../archive/faulty-transfer.ts';
import { type Away, whyUnmounted } from '../content/mounted.ts';
import { publishFile, publishTree } from '../content/publish.ts';
import { liveDataset, reachState } from '../dataset/lifecycle.ts';
import { aliasOf } from '../dataset/paths.ts';
import type { Bundle, Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { proofOf } from './bundle-copies.ts';
import { clearRest, defineTask, type Postponement, postpone, type TaskContext } from './contract.ts';
import { stagedMeanwhile, turnTaken } from './dataset-turn.ts';
import { preparePlaces, reserveBoth, type Staging } from './staging-places.ts';
import { mayTransfer, transfersTaken } from './transfer-permit.ts';
import { expectedDigests, unpackCopy } from './unpack-copy.ts';

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

/** A transfer that went wrong once was the network's fault more often than the archive's; twice, it is a finding. */
async function stageTwice(ctx: TaskContext, staging: Staging): Promise<void> {
  try {
    await stageFrom(ctx, staging);
  } catch (error) {
    ctx.signal.throwIfAborted();
    const { archive, key } = staging.copy;
    const wrong = faultyTransfer(error, archive, key);
    if (wrong === null) throw error;
    const about = { archive: archive.name, path: archive.locate(key), code: wrong.code };
    ctx.log.warn({ ...about, reason: wrong.message }, 'a transfer went wrong, and is repeated');
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
    const { unpacked, with_manifest } = await unpackCopy(ctx, staging, places, (bytes) => {
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
    for (const reservation of reservations) reservation.release();
    await clearRest(ctx, failure, () => places.clear());
  }
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
  E_IO: 'mismatch', // Of the copy: anything else is not told here.
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
