import { existsSync, readdirSync, realpathSync, type Stats, statSync, symlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { normaliseName } from '../../workers/dataset/name.ts';
import { isBelow } from '../../workers/dataset/paths.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { datasetNameOf } from '../../workers/watch/registration.ts';
import type { DemoPlace } from './place.ts';

/** A folder that is to become a dataset. */
export interface Expected {
  /** Real path, as it is registered. */
  readonly origin: string;
  readonly folder: string;
  readonly type: 'RAW_DATA' | 'DATA_PRODUCT';
}

export interface LeftOut {
  readonly name: string;
  readonly reason: string;
  /** A folder that should have landed, and cannot under its name. */
  readonly failed: boolean;
}

export interface Plan {
  readonly watched: string;
  readonly expected: readonly Expected[];
  /** What lies in the source and is not landed, with the reason. */
  readonly left: readonly LeftOut[];
}

/**
 * Before anything is made or removed: the lent directory and the demo's own folder must not lie in each other, or the
 * one would be changed by the other.
 */
export function assertApart(directory: string, at: string): string {
  const stats = statSync(directory, { throwIfNoEntry: false });
  if (stats === undefined || !stats.isDirectory()) {
    const found = stats === undefined ? 'not there' : 'no folder';
    throw new LongshoreError('E_USAGE', `--source ${directory} is ${found}; expected a folder`);
  }
  const source = realpathSync(directory);
  if (readdirSync(source).length === 0)
    throw new LongshoreError('E_USAGE', `--source ${source} is empty; there is nothing to land`);
  const own = realOf(at);
  if (own === source || isBelow(source, own) || isBelow(own, source)) {
    throw new LongshoreError(
      'E_USAGE',
      `--source ${source} and the demo's own folder ${own} lie in each other`,
      {
        hint: 'Give --at a folder elsewhere; the demo replaces it at each run.',
      },
    );
  }
  return source;
}

/** The folders of a real directory; the directory itself, by a link, when it holds files only. */
export function planSource(source: string, place: DemoPlace): Plan {
  const { folders, left } = sort(source);
  if (folders.length > 0) {
    return { watched: source, expected: folders.map((name) => expectedOf(join(source, name), name)), left };
  }
  const name = basename(source);
  symlinkSync(source, join(place.raw, name));
  return { watched: place.raw, expected: [expectedOf(source, name)], left: [] };
}

/** Of the nearest part that exists. */
function realOf(path: string): string {
  return existsSync(path) || path === dirname(path)
    ? realpathSync(path)
    : join(realOf(dirname(path)), basename(path));
}

/** The samples that were dropped, read from the folders they lie in. */
export function planSamples(place: DemoPlace): Plan {
  const of = (source: string, type: Expected['type']): Expected[] =>
    readdirSync(source).map((name) => ({ origin: realpathSync(join(source, name)), folder: name, type }));
  return {
    watched: place.raw,
    expected: [...of(place.raw, 'RAW_DATA'), ...of(place.products, 'DATA_PRODUCT')],
    left: [],
  };
}

function expectedOf(path: string, folder: string): Expected {
  return { origin: realpathSync(path), folder, type: 'RAW_DATA' };
}

function sort(source: string): { folders: string[]; left: LeftOut[] } {
  const left: LeftOut[] = [];
  const taken = new Map<string, string>();
  const folders = readdirSync(source)
    .sort()
    .filter((name) => {
      const against = reasonAgainst(source, name, taken);
      if (against !== null) left.push({ name, ...against });
      else taken.set(recordedName(name), name);
      return against === null;
    });
  return { folders, left };
}

function reasonAgainst(
  source: string,
  name: string,
  taken: ReadonlyMap<string, string>,
): Pick<LeftOut, 'reason' | 'failed'> | null {
  if (name.includes('\uFFFD')) return { reason: 'its name is no valid UTF-8', failed: true };
  const stats = statsOf(join(source, name));
  if (stats === 'closed') return { reason: 'a link into a folder that may not be entered', failed: true };
  if (stats === undefined) return { reason: 'a link that leads nowhere', failed: false };
  if (!stats.isDirectory()) return { reason: 'a file beside the folders', failed: false };
  if (name.startsWith('.')) return { reason: 'hidden; the configuration rejects it', failed: false };
  const twin = taken.get(recordedName(name));
  if (twin === undefined) return null;
  return { reason: `its dataset name ${recordedName(name)} is that of ${twin}`, failed: true };
}

/** As the watcher has it recorded. */
export const recordedName = (folder: string): string => normaliseName(datasetNameOf(folder));

function statsOf(path: string): Stats | 'closed' | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ELOOP') return undefined;
    if (code === 'EACCES') return 'closed';
    throw error;
  }
}
