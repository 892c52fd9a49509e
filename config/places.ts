import { accessSync, constants, statSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { pathsOf, registrationOf, usesSqlite } from './of.ts';
import type { Config } from './schema.ts';

/**
 * Configured folders that cannot work on this host, before anything runs: a folder that is a file, that cannot be
 * written or created, or that lies inside of a watched source (its contents would be registered as datasets, for ever).
 *
 * A source that is not there is no problem: it may be mounted later, and the watcher says so.
 */
export function findUnusablePlaces(config: Config): string[] {
  const written = writtenPlaces(config);
  const sources = sourcePlaces(config);
  return [
    ...unwritable(written),
    ...sources
      .filter(({ path }) => exists(path))
      .flatMap(({ key, path }) => unusable(key, path, constants.R_OK)),
    ...written.flatMap((place) => insideSource(place, sources)),
    ...watchedTwice(sources),
  ];
}

/** What lies in a state folder that cannot be used is not told of: most of it was only put there because of LONGSHORE_HOME. */
function unwritable([state, ...others]: readonly PlaceOfKey[]): string[] {
  const problemsOf = ({ key, path }: PlaceOfKey): string[] =>
    unusable(key, path, constants.W_OK | constants.X_OK);
  if (state === undefined) return [];
  const problems = problemsOf(state);
  const judged = problems.length === 0 ? others : others.filter(({ path }) => !contains(state.path, path));
  return [...problems, ...judged.flatMap(problemsOf)];
}

/** A configured folder and where it is configured. */
export interface PlaceOfKey {
  readonly key: string;
  readonly path: string;
}

/** The state folder first; with the archive of one year. */
export function writtenPlaces(config: Config, year = new Date().getFullYear()): PlaceOfKey[] {
  const ofTypes = config.dataset_types.flatMap((type) => {
    const folders = pathsOf(config, type);
    const key = `paths.${type}`;
    return [
      ...archiveFolders(config, type),
      { key: `${key}.stage`, path: folders.stage },
      { key: `${key}.bundle.stage`, path: folders.bundle.stage },
      { key: `${key}.qc`, path: folders.qc },
    ];
  });
  return [
    { key: 'state_dir', path: config.state_dir },
    ...(usesSqlite(config) ? [{ key: 'catalog.path', path: dirname(config.catalog.path) }] : []),
    { key: 'paths.scratch', path: config.paths.scratch },
    { key: 'paths.download_dir', path: config.paths.download_dir },
    ...ofTypes,
  ].map(({ key, path }) => ({ key, path: path.replaceAll('{year}', String(year)) }));
}

/** Of the archives of a type those that are folders of this host. */
function archiveFolders(config: Config, type: string): PlaceOfKey[] {
  const { copies, types, backends } = config.archive;
  return (types[type] ?? copies).flatMap((name) => {
    const backend = backends[name];
    if (backend?.kind !== 'filesystem') return [];
    const { archive } = pathsOf(config, type);
    return backend.root === undefined
      ? [{ key: `paths.${type}.archive`, path: archive }]
      : [{ key: `archive.backends.${name}.root`, path: backend.root }];
  });
}

export function sourcePlaces(config: Config): PlaceOfKey[] {
  return config.dataset_types.flatMap((type) =>
    [registrationOf(config, type).source_dir]
      .flat()
      .map((path) => ({ key: `registration.${type}.source_dir`, path })),
  );
}

/** Looks at the nearest folder that exists: what is missing below it is made when it is needed. */
function unusable(key: string, path: string, mode: number): string[] {
  let at = path;
  while (!exists(at) && at !== dirname(at)) at = dirname(at);
  const where = at === path ? path : `${path} (below ${at})`;
  try {
    if (!statSync(at).isDirectory())
      return [`${key}: expected a folder, but ${at === path ? path : `${at}, part of ${path},`} is a file`];
    accessSync(at, mode);
    return [];
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    const verb = mode === constants.R_OK ? 'read' : 'write';
    return [`${key}: cannot ${verb} ${where}: ${reason}; expected a folder this user may ${verb}`];
  }
}

function insideSource({ key, path }: PlaceOfKey, sources: readonly PlaceOfKey[]): string[] {
  return sources
    .filter((source) => contains(source.path, path))
    .map((source) => `${key}: ${path} lies inside of ${source.key}, where it would be taken for a dataset`);
}

function watchedTwice(sources: readonly PlaceOfKey[]): string[] {
  return sources
    .filter((source, index) => sources.findIndex((other) => other.path === source.path) < index)
    .map(({ key, path }) => `${key}: ${path} is watched already; expected one type for each source`);
}

const contains = (folder: string, path: string): boolean => {
  const way = relative(folder, path);
  return way === '' || (!way.startsWith('../') && way !== '..');
};

/** False only where nothing is; what may not be looked at is there, and its use is refused by name. */
function exists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ENOTDIR';
  }
}
