/**
 * Removes the origin folder, and only when the archive provably holds what it holds: every byte is read and compared once
 * more, since a file can change and keep its size and time. How it goes: origin-removal.ts.
 */
import { openManifest, type OpenManifest } from '../archive/bundles.ts';
import { type Copy, copiesOf } from '../archive/copies.ts';
import { archiveNamesOf } from '../archive/index.ts';
import { damaged } from '../archive/presence.ts';
import { compareTree } from '../content/compare/compare.ts';
import { checkManifest } from '../content/manifest.ts';
import { roughSize } from '../dataset/byte-size.ts';
import { liveDataset } from '../dataset/lifecycle.ts';
import { type Bundle, type Dataset, openFinding } from '../dataset/types.ts';
import { defineTask, type TaskContext } from './contract.ts';
import { turnTaken } from './dataset-turn.ts';
import { NEVER_READ_BACK, originKept, removeOrigin } from './origin-removal.ts';

export const task = defineTask({
  description: 'Deletes the origin folder; refuses unless the archived bundle was read back and equals it.',
  run: async (ctx) => {
    const waiting = await turnTaken(ctx);
    if (waiting !== null) return waiting;
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const manifest = await provenManifest(ctx, dataset);
    try {
      await removeOrigin(ctx, dataset, {
        action: 'dataset.delete_source',
        inPlace: async (root) => {
          await assertUnchanged(ctx, dataset, { root, manifest: manifest.path, level: 'readback' });
          // That may have taken hours: an archive that went away meanwhile, or a finding, keeps the origin.
          await assertHeld(ctx, dataset);
        },
        setAside: (root) => assertUnchanged(ctx, dataset, { root, manifest: manifest.path, level: 'stream' }),
      });
    } finally {
      manifest.close();
    }
    return [dataset.id];
  },
});

/**
 * A complete manifest whose bundle is recorded, was read back since it was written, and lies in every archive that the
 * policy asks for, each copy proven.
 */
async function provenManifest(ctx: TaskContext, dataset: Dataset): Promise<OpenManifest> {
  const { bundle, copies } = await assertHeld(ctx, dataset);
  const [first] = copies;
  const { signal } = ctx;
  const manifest =
    first && (await openManifest(first.archive, first.key, { scratch: ctx.config.paths.scratch, signal }));
  if (!manifest) throw originKept(dataset, 'its bundle has no manifest to compare the origin with');
  try {
    const trailer = checkManifest(manifest.path);
    const differs = Object.entries(bundle.digests).some(([name, digest]) => {
      const other = trailer.bundle.digests[name];
      return other !== undefined && other !== digest;
    });
    if (differs || trailer.bundle.size !== bundle.size)
      throw originKept(dataset, 'its manifest is of another bundle');
    return manifest;
  } catch (error) {
    manifest.close();
    throw error;
  }
}

/** In every archive of the policy, as far as the archives and the ledger say now. */
async function assertHeld(
  ctx: TaskContext,
  dataset: Dataset,
): Promise<{ bundle: Bundle; copies: readonly Copy[] }> {
  const { archive_path, bundle } = dataset;
  if (archive_path === null || !bundle) throw originKept(dataset, 'no archived bundle is recorded');
  if (bundle.verified_at === null) throw originKept(dataset, NEVER_READ_BACK);
  const copies = copiesOf(ctx.config, dataset, await ctx.catalog.copies(dataset.id));
  for (const name of archiveNamesOf(ctx.config, dataset.type)) {
    const copy = copies.find(({ archive }) => archive.name === name);
    if (copy === undefined)
      throw originKept(dataset, `there is no copy in the archive ${name}`, { archive: name });
    await assertCopy(ctx, dataset, copy, bundle.size);
  }
  return { bundle, copies };
}

async function assertCopy(
  ctx: TaskContext,
  dataset: Dataset,
  { archive, key, recorded }: Copy,
  size: number,
): Promise<void> {
  const about = { archive: archive.name, archive_path: archive.locate(key) };
  if (recorded !== null && recorded.verified_at === null)
    throw originKept(dataset, `the copy in ${archive.name} has never been verified`, about);
  const finding = recorded === null ? null : openFinding(recorded);
  if (finding !== null) throw originKept(dataset, damaged(archive.locate(key), finding).message, about);
  const there = await archive.stat(key, { signal: ctx.signal });
  if (there === null) throw originKept(dataset, `the archive has no bundle at ${archive.locate(key)}`, about);
  if (there.size !== size)
    throw originKept(dataset, `its bundle has ${there.size} bytes, ${size} are recorded`, about);
}

async function assertUnchanged(
  ctx: TaskContext,
  dataset: Dataset,
  { root, manifest, level }: { root: string; manifest: string; level: 'readback' | 'stream' },
): Promise<void> {
  const meter = ctx.progress('compare', { total: roughSize(dataset.size), units: 'bytes' });
  const { problems, num_problems } = await compareTree({
    root,
    manifest,
    level,
    times: 'report',
    signal: ctx.signal,
    onProgress: ({ bytes }) => meter.set(bytes),
  });
  meter.end();
  const [first] = problems;
  if (first === undefined) return;
  throw originKept(dataset, `it has changed since it was archived (${first[0]}: ${first[1]})`, {
    total: num_problems,
    problems: problems.slice(0, 100),
  });
}
