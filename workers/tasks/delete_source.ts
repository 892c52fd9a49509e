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
import { pathsOf, registrationOf } from '../../config/index.ts';
import { openArchive } from '../archive/index.ts';
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
    const origin = dataset.origin_path;
    assertSource(ctx, dataset);
    putBack(dataset);
    if (isThere(origin)) {
      await assertUnchanged(ctx, dataset, { root: origin, manifest, level: 'readback' });
      await ctx.lease.assert();
      await setAside(ctx, dataset, manifest);
    }
    await removeStale(origin);
    await ctx.catalog.patch(dataset.id, { metadata: { source_deleted_at: new Date().toISOString() } });
    return [dataset.id];
  },
});

const refuse = (dataset: Dataset, why: string, fields: Record<string, unknown> = {}): LongshoreError =>
  new LongshoreError('E_NOT_ARCHIVED', `the origin of ${dataset.name} is kept: ${why}`, {
    fields: { dataset_id: dataset.id, origin_path: dataset.origin_path, ...fields },
  });

/** Path of a complete manifest whose bundle is recorded, present and was read back since it was written. */
async function provenManifest(ctx: TaskContext, dataset: Dataset): Promise<string> {
  const { archive_path, bundle } = dataset;
  if (archive_path === null || !bundle) throw refuse(dataset, 'no archived bundle is recorded');
  if (bundle.verified_at === null) throw refuse(dataset, 'its bundle has never been read back and verified');
  const archive = openArchive(ctx.config);
  await archive.ensureReachable(archive_path);
  const there = await archive.stat(archive_path);
  if (there === null) throw refuse(dataset, `the archive has no bundle at ${archive_path}`, { archive_path });
  if (there.size !== bundle.size)
    throw refuse(dataset, `its bundle has ${there.size} bytes, ${bundle.size} are recorded`, {
      archive_path,
    });
  const { manifestPath } = await archive.openBundle(archive_path);
  if (manifestPath === null) throw refuse(dataset, 'its bundle has no manifest to compare the origin with');
  const manifest = checkManifest(manifestPath);
  const differs = Object.entries(bundle.digests).some(([name, digest]) => {
    const other = manifest.bundle.digests[name];
    return other !== undefined && other !== digest;
  });
  if (differs || manifest.bundle.size !== bundle.size)
    throw refuse(dataset, 'its manifest is of another bundle');
  return manifestPath;
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
