/** Where uploads lie: resumable ones at the top of a root, what has arrived below the folder of its type. */
import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { type Config, pathsOf } from '../../config/index.ts';
import { whyAway } from '../content/mounted.ts';
import { isVanished } from '../content/walk.ts';
import { isBelow } from '../dataset/paths.ts';
import { LongshoreError } from '../errors.ts';

/** The name of a resumable upload's file, and of what it says of itself beside it. */
export const STAGED_FILE = /^[a-f0-9]{32}$/;
export const STAGED_ABOUT = /^[a-f0-9]{32}\.json$/;
/** Of every file that has arrived a copy of what it said of itself, by dataset. */
export const MIRROR = 'uploaded_data';

/** The real paths of all upload roots that are there. */
export function uploadRoots(config: Config): string[] {
  const roots = config.dataset_types.flatMap((type) => realPath(rootOf(config, type)) ?? []);
  return [...new Set(roots)];
}

/**
 * A root that is not mounted says nothing about an upload, and must fail none.
 * @throws E_USAGE for a type that is not configured, E_ORIGIN_MISSING when its root is not there or empty
 */
export function assertUploadRoot(config: Config, type: string): void {
  const path = rootOf(config, type);
  const away = whyAway(path);
  if (away === null) return;
  throw new LongshoreError('E_ORIGIN_MISSING', `the upload root ${away.message} (paths.${type}.upload)`, {
    fields: { path },
    hint: `${away.remedy}.`,
  });
}

const rootOf = (config: Config, type: string): string => dirname(pathsOf(config, type).upload);

/** Names of the folders below a root that hold what has arrived: as configured, and as the API names them by type. */
const typeFoldersOf = (config: Config): ReadonlySet<string> =>
  new Set(
    config.dataset_types.flatMap((type) => [basename(pathsOf(config, type).upload), type.toLowerCase()]),
  );

export interface Payload {
  /** Real, and no link itself. */
  readonly path: string;
  readonly root: string;
  /** The folder below that of the type: the API names it by the id of the dataset. */
  readonly owner: string;
}

/**
 * The folder of an upload, or null when it is gone: `{root}/{folder of a type}/{id}/{name}`, or deeper. What lies anywhere
 * else was not made by an upload, whatever the catalog says, and is not to be removed as one.
 * @throws E_NAME_UNSAFE
 */
export function payloadOf(config: Config, roots: readonly string[], origin_path: string): Payload | null {
  const refused = (why: string): LongshoreError =>
    new LongshoreError('E_NAME_UNSAFE', `${origin_path} is no folder of an upload: ${why}; it is kept`, {
      fields: { origin_path, roots },
    });
  if (!origin_path.startsWith('/')) throw refused('it is not absolute');
  const parent = realPath(dirname(origin_path));
  if (parent === null) return null;
  // The last name is not resolved: a link that stands there leads to what is somebody else's.
  const path = join(parent, basename(origin_path));
  const root = roots.find((one) => isBelow(one, path));
  if (root === undefined) throw refused('it lies below no upload root');
  const parts = relative(root, path).split(sep);
  if (parts.length < 3 || !typeFoldersOf(config).has(parts[0] ?? ''))
    throw refused('it does not lie two levels below the folder of a dataset type');
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return null;
  if (stats.isSymbolicLink()) throw refused('it is a symbolic link');
  return { path, root, owner: parts[1] ?? '' };
}

function realPath(path: string): string | null {
  try {
    return realpathSync(path);
  } catch (error) {
    if (isVanished(error)) return null;
    throw error;
  }
}
