/** Every folder that the configuration names, whether it is there, and its making. */
import { statSync } from 'node:fs';
import type { Config } from '../../config/index.ts';
import { pathsOf } from '../../config/of.ts';
import { type PlaceOfKey, sourcePlaces, writtenPlaces } from '../../config/places.ts';
import { coerceError } from '../../workers/errors.ts';
import { makeFolders } from '../../workers/folders.ts';

export interface FolderRow {
  key: string;
  /** Null: the configuration has no such key. */
  path: string | null;
  status: 'Exists' | 'Missing' | 'Created' | 'Not configured' | 'Failed';
  note: string;
}

type Wanted = Omit<PlaceOfKey, 'path'> & { readonly path: string | null };

/** In the order of the configuration; a key that a dataset type lacks has no path. */
export function configuredFolders(config: Config): Wanted[] {
  const types = config.dataset_types.flatMap((type) => {
    const { upload, bundle } = pathsOf(config, type);
    return [
      { key: `paths.${type}.upload`, path: upload },
      { key: `paths.${type}.bundle.generate`, path: bundle.generate },
      {
        key: `register_ondemand.${type}.source_dir`,
        path: config.register_ondemand[type]?.source_dir ?? null,
      },
    ];
  });
  const all: Wanted[] = [
    ...writtenPlaces(config),
    ...types,
    ...sourcePlaces(config),
    { key: 'paths.root', path: config.paths.root },
    { key: 'logs.register_ondemand', path: config.logs.register_ondemand },
  ];
  const byKey = new Map(all.map((one) => [`${one.key} ${one.path}`, one]));
  return [...byKey.values()].toSorted((a, b) => a.key.localeCompare(b.key));
}

/** An archive is made by its first bundle, with its mark: an empty folder would pass for one whose mount is missing. */
const madeByArchiving = (key: string): boolean => key.endsWith('.archive') || key.startsWith('archive.');

/** Never throws: a folder that cannot be made is told, and the others are made all the same. */
export function checkFolder({ key, path }: Wanted, create: boolean): FolderRow {
  if (path === null)
    return { key, path, status: 'Not configured', note: 'the configuration has no such key' };
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) return { key, path, status: 'Exists', note: '' };
    if (found !== undefined) return { key, path, status: 'Failed', note: 'it is no folder' };
    if (madeByArchiving(key)) return { key, path, status: 'Missing', note: 'made by the first archiving' };
    if (!create) return { key, path, status: 'Missing', note: '' };
    makeFolders(path);
    return { key, path, status: 'Created', note: '' };
  } catch (error) {
    return { key, path, status: 'Failed', note: coerceError(error).message };
  }
}
