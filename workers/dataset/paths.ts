/** Where everything of a dataset lies. The formulas are a contract with the facility's web front end. */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { basename, isAbsolute, join, relative, sep } from 'node:path';
import type { Config } from '../../config/index.ts';
import { pathsOf } from '../../config/of.ts';
import { LongshoreError } from '../errors.ts';
import type { Dataset } from './types.ts';

type Named = Pick<Dataset, 'id' | 'name' | 'type' | 'metadata'>;

/**
 * A file name holds 255 bytes on every file system in use. The longest name made from a dataset's is its manifest's
 * while it is being written, `.{name}.tar.manifest.ndjson.partial-12345678`; 60 bytes leave some room beyond that.
 */
export const MAX_NAME_BYTES = 255 - 60;

/** @throws E_NAME_UNSAFE when the name cannot be one component of a path */
export function assertName(name: string): string {
  const bytes = Buffer.byteLength(name);
  const reason =
    name === '' || name === '.' || name === '..'
      ? 'it stands for a folder of its own'
      : name.includes('/') || name.includes('\0')
        ? 'it holds a slash or a NUL'
        : bytes > MAX_NAME_BYTES
          ? `it has ${bytes} bytes, more than the ${MAX_NAME_BYTES} that leave room for ".tar" and its like`
          : null;
  if (reason === null) return name;
  throw new LongshoreError(
    'E_NAME_UNSAFE',
    `the dataset name ${JSON.stringify(name)} cannot name a file: ${reason}`,
    {
      fields: { name, bytes, max_bytes: MAX_NAME_BYTES },
      hint: 'Rename the folder (or register it under another name) and delete this dataset.',
    },
  );
}

/** Unguessable folder name of the staged copy: what was stored, else the same for the same salt for ever. */
export function aliasOf(config: Config, dataset: Named): string {
  const stored = dataset.metadata.stage_alias;
  if (typeof stored === 'string' && stored !== '') return assertName(stored);
  return createHash('sha256')
    .update(`${dataset.id}${dataset.name}${config.stage.alias_salt}`)
    .digest('hex')
    .slice(0, 32);
}

/** The year is read from the clock at the moment of use, never when the process started. */
export function archivePathOf(config: Config, dataset: Named, now: Date = new Date()): string {
  const folder = pathsOf(config, dataset.type).archive.replaceAll('{year}', String(now.getFullYear()));
  return join(folder, bundleName(dataset));
}

export const bundleName = (dataset: Named): string => `${assertName(dataset.name)}.tar`;

/** Differs from the archived name: all types share the download folder. */
export const stagedBundleName = (dataset: Named): string => `${assertName(dataset.name)}.${dataset.type}.tar`;

/** The folder is resolved, because the link that is made to it must not go through further links. */
export function stagedPathOf(config: Config, dataset: Named): string {
  return join(aliasFolderOf(config, dataset), assertName(dataset.name));
}

export function aliasFolderOf(config: Config, dataset: Named): string {
  return join(resolved(pathsOf(config, dataset.type).stage), aliasOf(config, dataset));
}

export function stagedBundleOf(config: Config, dataset: Named): string {
  return join(pathsOf(config, dataset.type).bundle.stage, stagedBundleName(dataset));
}

/** Where a bundle is packed on its way to an archive elsewhere. */
export function generatedBundleOf(config: Config, dataset: Named): string {
  return join(pathsOf(config, dataset.type).bundle.generate, bundleName(dataset));
}

/** Where a bundle is fetched that is unpacked and not kept: beside the alias folders, as the reference does. */
export function fetchedBundleOf(config: Config, dataset: Named): string {
  return join(resolved(pathsOf(config, dataset.type).stage), bundleName(dataset));
}

export interface DownloadLinks {
  /** To the staged tree. */
  readonly tree: string;
  /** To the staged bundle. */
  readonly bundle: string;
  /** To the QC report: beside the tree's link, as hard to guess. */
  readonly report: string;
}

export function downloadLinksOf(config: Config, dataset: Named): DownloadLinks {
  const folder = resolved(config.paths.download_dir);
  const alias = aliasOf(config, dataset);
  return {
    tree: join(folder, alias),
    bundle: join(folder, stagedBundleName(dataset)),
    report: join(folder, `${alias}.qc.html`),
  };
}

export function qcFolderOf(config: Config, dataset: Named): string {
  return join(pathsOf(config, dataset.type).qc, assertName(dataset.name), 'qc');
}

export const scratchPathOf = (config: Config, dataset: Named): string =>
  join(config.paths.scratch, assertName(dataset.name));

/** True if `path` lies below `folder`, and is not the folder itself. Both as they are written. */
export function isBelow(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** @throws E_NAME_UNSAFE when a recorded path lies outside the folder it belongs to */
export function assertBelow(folder: string, path: string, what: string): string {
  if (isBelow(folder, path)) return path;
  throw new LongshoreError('E_NAME_UNSAFE', `${what} ${path} is not below ${folder}; nothing was touched`, {
    fields: { path, folder },
    hint: `Correct the recorded path of the dataset, or the folder in the configuration (${basename(folder)}).`,
  });
}

/** A folder that does not exist yet is its own real path. */
export function resolved(folder: string): string {
  try {
    return realpathSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return folder;
    throw error;
  }
}
