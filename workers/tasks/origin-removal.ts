/**
 * How the origin of a dataset is removed: it is looked at where it is, set aside under another name, looked at again, so that
 * nothing that somebody adds by name comes in between the look and the removal, and removed.
 *
 * | beside the origin's place | an attempt that was killed | then                   |
 * | ------------------------- | -------------------------- | ---------------------- |
 * | `.name.partial-checking`  | while it compared          | put back, begun anew   |
 * | `.name.partial-deleting`  | while it removed           | removed                |
 */
import { renameSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathsOf, registrationOf } from '../../config/of.ts';
import { whyAway } from '../content/mounted.ts';
import { partialPath, removeStale, syncPath } from '../content/publish.ts';
import { isThere } from '../content/staged-copy.ts';
import { isBelow, resolved } from '../dataset/paths.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import type { TaskContext } from './contract.ts';

export interface Removal {
  /** For the history. */
  readonly action: string;
  /** Proves that all of it is archived; throws where it is not. May take long. */
  inPlace(root: string): Promise<void>;
  /** That nothing of it has changed since; quick, as nobody finds the origin meanwhile. */
  setAside(root: string): Promise<void>;
}

/**
 * Once it is gone, calling it again removes what a killed attempt left. It is recorded as deleted when it has the name of
 * what may be removed: afterwards nothing in an empty source would tell who removed it.
 * @throws E_NAME_UNSAFE, E_NOT_ARCHIVED, E_ORIGIN_MISSING
 */
export async function removeOrigin(ctx: TaskContext, dataset: Dataset, removal: Removal): Promise<void> {
  const origin = dataset.origin_path;
  assertSource(ctx, dataset);
  putBack(dataset);
  if (isThere(origin)) {
    await removal.inPlace(origin);
    await ctx.lease.assert();
    await setAside(ctx, dataset, removal);
    await recordDeleted(ctx, dataset);
  } else if (dataset.metadata.source_deleted_at == null) {
    assertGone(dataset);
    await recordDeleted(ctx, dataset);
  }
  await removeStale(origin);
}

const recordDeleted = ({ catalog }: TaskContext, { id }: Dataset): Promise<unknown> =>
  catalog.patch(id, { metadata: { source_deleted_at: new Date().toISOString() } });

/** Of a source that is not mounted nothing is gone, and must not be recorded so. @throws E_ORIGIN_MISSING */
export function assertGone({ id, name, origin_path }: Dataset): void {
  const folder = dirname(origin_path);
  const away = whyAway(folder);
  if (away === null) return;
  throw new LongshoreError(
    'E_ORIGIN_MISSING',
    `the origin of ${name} is not there, and ${away.message}: that it was deleted is not recorded`,
    { fields: { dataset_id: id, origin_path, path: folder }, hint: `${away.remedy}, then resume.` },
  );
}

export const NEVER_READ_BACK = 'its bundle has never been read back and verified';

/** The refusal of a removal. */
export const originKept = (
  dataset: Dataset,
  why: string,
  fields: Record<string, unknown> = {},
): LongshoreError =>
  new LongshoreError('E_NOT_ARCHIVED', `the origin of ${dataset.name} is kept: ${why}`, {
    fields: { dataset_id: dataset.id, origin_path: dataset.origin_path, ...fields },
  });

/** Only what came in by one of the configured ways may go: a recorded path may be anything. */
export function assertSource({ config }: Pick<TaskContext, 'config'>, dataset: Dataset): void {
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

/** In its place, or set aside by an attempt that was killed. */
export const isOriginThere = ({ origin_path }: Dataset): boolean =>
  isThere(origin_path) || isThere(checkingPath(origin_path));

function putBack(dataset: Dataset): void {
  const origin = dataset.origin_path;
  const aside = checkingPath(origin);
  if (!isThere(aside)) return;
  if (isThere(origin))
    throw originKept(dataset, `another folder has taken its place while it was set aside as ${aside}`, {
      aside,
    });
  move(aside, origin);
}

/** Leaves it under the name of what may be removed, or where it was. */
async function setAside(ctx: TaskContext, dataset: Dataset, removal: Removal): Promise<void> {
  const origin = dataset.origin_path;
  const aside = checkingPath(origin);
  move(origin, aside);
  try {
    await removal.setAside(aside);
    await ctx.lease.assert();
    await ctx.audit(removal.action, { dataset_id: dataset.id, origin_path: origin });
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
