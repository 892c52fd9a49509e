/**
 * Removes the origin folder, and only when the archive provably holds what it holds: every byte is read and compared once
 * more, since a file can change and keep its size and time. Then the folder is set aside and looked at again, so that
 * nothing that somebody adds by name comes in between the look and the removal.
 *
 * | beside the origin's place | an attempt that was killed | then                   |
 * | ------------------------- | -------------------------- | ---------------------- |
 * | `.name.partial-checking`  | while it compared          | put back, begun anew   |
 * | `.name.partial-deleting`  | while it removed           | removed                |
 */
import { renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathsOf, registrationOf } from '../../config/of.ts';
import { openManifest, type OpenManifest } from '../archive/bundles.ts';
import { type Copy, copiesOf } from '../archive/copies.ts';
import { archiveNamesOf } from '../archive/index.ts';
import { compareTree } from '../content/compare.ts';
import { checkManifest } from '../content/manifest.ts';
import { partialPath, removeStale, syncPath } from '../content/publish.ts';
import { isThere } from '../content/staged-copy.ts';
import { liveDataset } from '../dataset/lifecycle.ts';
import { isBelow, resolved } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import { defineTask, type TaskContext } from './contract.ts';

export const task = defineTask({
  description: 'Deletes the origin folder; refuses unless the archived bundle was read back and equals it.',
  run: async (ctx) => {
    const dataset = await liveDataset(ctx.catalog, ctx.dataset_id);
    const manifest = await provenManifest(ctx, dataset);
    try {
      await removeOrigin(ctx, dataset, manifest.path);
    } finally {
      manifest.close();
    }
    await ctx.catalog.patch(dataset.id, { metadata: { source_deleted_at: new Date().toISOString() } });
    return [dataset.id];
  },
});

async function removeOrigin(ctx: TaskContext, dataset: Dataset, manifest: string): Promise<void> {
  const origin = dataset.origin_path;
  assertSource(ctx, dataset);
  putBack(dataset);
  if (isThere(origin)) {
    await assertUnchanged(ctx, dataset, { root: origin, manifest, level: 'readback' });
    await ctx.lease.assert();
    await setAside(ctx, dataset, manifest);
  }
  await removeStale(origin);
}

const refuse = (dataset: Dataset, why: string, fields: Record<string, unknown> = {}): LongshoreError =>
  new LongshoreError('E_NOT_ARCHIVED', `the origin of ${dataset.name} is kept: ${why}`, {
    fields: { dataset_id: dataset.id, origin_path: dataset.origin_path, ...fields },
  });

/**
 * A complete manifest whose bundle is recorded, was read back since it was written, and lies in every archive that the
 * policy asks for, each copy proven.
 */
async function provenManifest(ctx: TaskContext, dataset: Dataset): Promise<OpenManifest> {
  const { archive_path, bundle } = dataset;
  if (archive_path === null || !bundle) throw refuse(dataset, 'no archived bundle is recorded');
  if (bundle.verified_at === null) throw refuse(dataset, 'its bundle has never been read back and verified');
  const copies = copiesOf(ctx.config, dataset, await ctx.catalog.copies(dataset.id));
  for (const name of archiveNamesOf(ctx.config, dataset.type)) {
    const copy = copies.find(({ archive }) => archive.name === name);
    if (copy === undefined)
      throw refuse(dataset, `there is no copy in the archive ${name}`, { archive: name });
    await assertCopy(ctx, dataset, copy, bundle.size);
  }
  const [first] = copies;
  const { signal } = ctx;
  const manifest =
    first && (await openManifest(first.archive, first.key, { scratch: ctx.config.paths.scratch, signal }));
  if (!manifest) throw refuse(dataset, 'its bundle has no manifest to compare the origin with');
  try {
    const trailer = checkManifest(manifest.path);
    const differs = Object.entries(bundle.digests).some(([name, digest]) => {
      const other = trailer.bundle.digests[name];
      return other !== undefined && other !== digest;
    });
    if (differs || trailer.bundle.size !== bundle.size)
      throw refuse(dataset, 'its manifest is of another bundle');
    return manifest;
  } catch (error) {
    manifest.close();
    throw error;
  }
}

async function assertCopy(
  ctx: TaskContext,
  dataset: Dataset,
  { archive, key, recorded }: Copy,
  size: number,
): Promise<void> {
  const about = { archive: archive.name, archive_path: archive.locate(key) };
  if (recorded !== null && recorded.verified_at === null)
    throw refuse(dataset, `the copy in ${archive.name} has never been verified`, about);
  await archive.ensureReachable(key, { signal: ctx.signal });
  const there = await archive.stat(key, { signal: ctx.signal });
  if (there === null) throw refuse(dataset, `the archive has no bundle at ${archive.locate(key)}`, about);
  if (there.size !== size)
    throw refuse(dataset, `its bundle has ${there.size} bytes, ${size} are recorded`, about);
}

/** Only what came in by one of the configured ways may go: a recorded path may be anything. */
function assertSource(ctx: TaskContext, dataset: Dataset): void {
  const { config } = ctx;
  const { source_dir } = registrationOf(config, dataset.type);
  const folders = [
    ...(typeof source_dir === 'string' ? [source_dir] : source_dir),
    ...Object.values(config.register_ondemand).map((entry) => entry.source_dir),
    pathsOf(config, dataset.type).upload,
    config.paths.scratch,
  ];
  const origin = resolved(dataset.origin_path);
  if (folders.some((folder) => isBelow(resolved(folder), origin))) return;
  throw new LongshoreError(
    'E_NAME_UNSAFE',
    `the origin ${dataset.origin_path} lies in none of the folders that datasets come from; it is kept`,
    {
      fields: { origin_path: dataset.origin_path, folders },
      hint: 'Delete it by hand, or add its folder to registration.TYPE.source_dir or register_ondemand.',
    },
  );
}

const checkingPath = (origin: string): string => partialPath(origin, 'checking');
const deletingPath = (origin: string): string => partialPath(origin, 'deleting');

function putBack(dataset: Dataset): void {
  const origin = dataset.origin_path;
  const aside = checkingPath(origin);
  if (!isThere(aside)) return;
  if (isThere(origin))
    throw refuse(dataset, `another folder has taken its place while it was set aside as ${aside}`, { aside });
  move(aside, origin);
}

/** Leaves it under the name of what may be removed, or where it was. */
async function setAside(ctx: TaskContext, dataset: Dataset, manifest: string): Promise<void> {
  const origin = dataset.origin_path;
  const aside = checkingPath(origin);
  move(origin, aside);
  try {
    await assertUnchanged(ctx, dataset, { root: aside, manifest, level: 'stream' });
    await ctx.lease.assert();
    await ctx.audit('dataset.delete_source', { dataset_id: dataset.id, origin_path: origin });
  } catch (error) {
    putBack(dataset);
    throw error;
  }
  move(aside, deletingPath(origin));
}

/** On disk at once: a power cut must not bring back the name that says less about what is under it. */
function move(from: string, to: string): void {
  renameSync(from, to);
  syncPath(dirname(to));
}

async function assertUnchanged(
  ctx: TaskContext,
  dataset: Dataset,
  { root, manifest, level }: { root: string; manifest: string; level: 'readback' | 'stream' },
): Promise<void> {
  const meter = ctx.progress('compare', { total: dataset.size, units: 'bytes' });
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
  throw refuse(dataset, `it has changed since it was archived (${first[0]}: ${first[1]})`, {
    total: num_problems,
    problems: problems.slice(0, 100),
  });
}
