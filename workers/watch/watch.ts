import { type Config, registrationOf } from '../../config/index.ts';
import type { Catalog } from '../catalog/contract.ts';
import { isBelow } from '../dataset/paths.ts';
import { makeFoldersLater } from '../folders.ts';
import type { Logger } from '../log.ts';
import type { Store } from '../store.ts';
import { registerFolders, type ScanRegistrar } from './folders.ts';
import { scanMemory } from './memory.ts';
import { observe } from './observer.ts';
import { createRefusals, type Refusals } from './refusals.ts';
import { createRegistrar } from './registration.ts';
import { createScanner, type ScanMemory, type Scanner, type ScanResult } from './scanner.ts';

/** A watched folder and what its folders are registered as. */
export interface Source {
  readonly type: string;
  readonly path: string;
}

export function sourcesOf(config: Config): Source[] {
  return config.dataset_types.flatMap((type) => {
    const { source_dir } = registrationOf(config, type);
    return [source_dir].flat().map((path) => ({ type, path }));
  });
}

/**
 * Where nobody has configured anything, the sources are folders of Longshore's own and are made. Anywhere else a
 * missing source is an unmounted file system, and a folder made in its place would hide that.
 */
export async function makeOwnSources(config: Config): Promise<void> {
  for (const { path } of sourcesOf(config)) if (isBelow(config.state_dir, path)) await makeFoldersLater(path);
}

export interface WatchParts {
  config: Config;
  store: Store;
  enqueue: (workflow_id: string) => Promise<unknown>;
  log: Logger;
}

export function createScanners({
  config,
  store,
  enqueue,
  log,
}: WatchParts): (Source & { scanner: Scanner })[] {
  const { catalog, records } = store;
  const registrar = createRegistrar({ config, catalog, enqueue, log });
  return sourcesOf(config).map((source) =>
    scannerOf(source, {
      config,
      log,
      catalog,
      registrar,
      refusals: createRefusals(records, source.path),
      memory: scanMemory(records, source.path),
    }),
  );
}

export interface ScannerParts {
  readonly config: Config;
  readonly log: Logger;
  readonly catalog: Pick<Catalog, 'list'>;
  readonly registrar: ScanRegistrar;
  readonly refusals: Refusals;
  readonly memory: ScanMemory;
}

/** What sees the folders of a source, and has them registered as its type. */
export function scannerOf(source: Source, parts: ScannerParts): Source & { scanner: Scanner } {
  const { config, log, catalog, registrar, refusals, memory } = parts;
  const { type, path } = source;
  const handle = registerFolders({ config, type, source: path, catalog, registrar, refusals, log });
  const full_every = config.registration.full_scan_every_n_scans;
  return { ...source, scanner: createScanner({ path, memory, full_every, handle, log }) };
}

/** One scan of every source, one after the other. */
export async function scanOnce(
  parts: WatchParts,
  signal: AbortSignal,
): Promise<(Source & { result: ScanResult })[]> {
  const results: (Source & { result: ScanResult })[] = [];
  for (const { type, path, scanner } of createScanners(parts))
    results.push({ type, path, result: await scanner.scan(signal) });
  return results;
}

/** Watches every source until it is stopped. A source that hangs holds up none of the others. */
export function watchSources(parts: WatchParts): { stop(): Promise<void> } {
  const poll_ms = parts.config.registration.poll_interval_seconds * 1000;
  const observers = createScanners(parts).map(({ scanner }) => observe({ scanner, poll_ms, log: parts.log }));
  return {
    stop: async () => {
      await Promise.all(observers.map((observer) => observer.stop()));
    },
  };
}
