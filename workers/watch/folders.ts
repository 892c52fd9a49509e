import { lstat, readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Config, registrationOf } from '../../config/index.ts';
import type { Catalog, NewDataset } from '../catalog/contract.ts';
import { normaliseName } from '../dataset/name.ts';
import { assertOwnLink } from '../dataset/own-link.ts';
import { coerceError, LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { RefusalKind, Refusals } from './refusals.ts';
import {
  datasetNameOf,
  type Foreseen,
  type RegistrationOptions,
  type RegistrationOutcome,
} from './registration.ts';
import { matcher } from './rejects.ts';
import type { Handle, ScanEvent } from './scanner.ts';
import { holdsUnreadable } from './source.ts';

/** An origin that `delete_source` has set aside, on its way out. */
const OURS = '.*.partial-*';

const LEVELS = { taken: 'warn', unsafe: 'error', small: 'info', deleted: 'info', failed: 'error' } as const;

/** A registrar, or what stands in for it in a dry run. */
export interface ScanRegistrar {
  register(
    items: readonly NewDataset[],
    options: RegistrationOptions,
  ): Promise<(RegistrationOutcome | Foreseen)[]>;
}

/** Turns what a scanner sees in one source into registrations. */
export function registerFolders(parts: {
  config: Config;
  type: string;
  /** The watched folder. */
  source: string;
  catalog: Pick<Catalog, 'list'>;
  registrar: ScanRegistrar;
  refusals: Refusals;
  log: Logger;
}): Handle {
  const { config, type, source, catalog, refusals, log } = parts;
  const { batch_size, minimum_dataset_size, workflow } = config.registration;
  const rejected = matcher([OURS, ...registrationOf(config, type).rejects]);

  function refuse(name: string, kind: RefusalKind, reason: string): void {
    if (refusals.add(name, kind, reason)) log[LEVELS[kind]]({ folder: name }, reason);
  }

  /** Null: done with for now; the next full scan asks again. */
  async function candidate(
    name: string,
    deleted: ReadonlyMap<string, string>,
  ): Promise<NewDataset | null | 'again'> {
    try {
      const origin_path = await realpath(join(source, name));
      assertOwnLink(join(source, name));
      const deletedAt = deleted.get(origin_path);
      if (deletedAt !== undefined && (await stat(origin_path)).birthtimeMs < Date.parse(deletedAt)) {
        if (await isRegistered(name, origin_path)) refusals.remove(name);
        else
          refuse(
            name,
            'deleted',
            'the dataset of this folder was deleted; register it by hand to land it again',
          );
        return null;
      }
      if (minimum_dataset_size > 0 && !(await isLarge(origin_path))) {
        refuse(
          name,
          'small',
          `smaller than ${minimum_dataset_size} bytes; looked at again with each full scan`,
        );
        return null;
      }
      return { name: datasetNameOf(name), type, origin_path, create_method: 'SCAN' };
    } catch (error) {
      const absent = (error as NodeJS.ErrnoException).code === 'ENOENT';
      if (absent && !holdsUnreadable(name)) return 'again'; // Gone since it was listed.
      const { code, message, hint } = coerceError(absent ? notText(source, name) : error);
      const unsafe = code === 'E_NAME_UNSAFE' || code === 'E_ORIGIN_FOREIGN';
      refuse(name, unsafe ? 'unsafe' : 'failed', `${code}: ${message}. ${hint}`);
      return unsafe ? null : 'again';
    }
  }

  /** By hand, with or without a prefix. By its name, too, as the API does not filter by the path. */
  async function isRegistered(folder: string, origin_path: string): Promise<boolean> {
    const name = normaliseName(datasetNameOf(folder));
    return (await catalog.list({ type, name, origin_path, limit: 1 })).count > 0;
  }

  /** What is registered has been large enough: its tree is not walked at each full scan for ever. */
  async function isLarge(origin_path: string): Promise<boolean> {
    const { count } = await catalog.list({ type, origin_path, limit: 1 });
    return count > 0 || (await holdsAtLeast(origin_path, minimum_dataset_size));
  }

  /** False: not done with; it comes again with the next scan. What no repeat can heal waits for the next full scan. */
  async function settle(
    name: string,
    item: NewDataset,
    result: RegistrationOutcome | Foreseen,
  ): Promise<boolean> {
    if (result.outcome === 'foreseen') return true;
    if (result.outcome === 'failed') {
      const { code, message, hint } = result.error;
      refuse(name, code === 'E_NAME_UNSAFE' ? 'unsafe' : 'failed', `${code}: ${message}. ${hint}`);
      return result.error.class !== 'retryable';
    }
    const { dataset, outcome } = result;
    if (outcome === 'taken' && !(await isRegistered(name, item.origin_path))) {
      const text = `not registered: the name ${dataset.name} belongs to dataset ${dataset.id} from ${dataset.origin_path}. Rename this folder, or register it by hand with --prefix or --suffix`;
      refuse(name, 'taken', text);
      return true;
    }
    refusals.remove(name);
    if (outcome === 'created' || outcome === 'completed') {
      const fields = { dataset_id: dataset.id, dataset: dataset.name, type, origin_path: item.origin_path };
      const told =
        outcome === 'created' ? 'registered' : 'registered before without a workflow; it has one now';
      log.info({ ...fields, workflow_id: result.workflow_id }, told);
    }
    return true;
  }

  /** What never was done with is not missed by the scans when it goes. */
  async function forgetGone(): Promise<void> {
    for (const name of refusals.names('failed')) {
      const found = await lstat(join(source, name)).catch((error: NodeJS.ErrnoException) => error.code);
      if (found === 'ENOENT') refusals.remove(name);
    }
  }

  async function handleBatch(
    names: readonly string[],
    deleted: ReadonlyMap<string, string>,
    signal: AbortSignal,
  ): Promise<string[]> {
    const accepted = names.filter((name) => !rejected(name));
    // Of what is rejected by now nobody wants to hear any more.
    for (const name of names) if (rejected(name)) refusals.remove(name);
    const items = await Promise.all(accepted.map((name) => candidate(name, deleted)));
    const requests = accepted.flatMap((name, at) => {
      const item = items[at];
      return item === null || item === undefined || item === 'again' ? [] : [{ name, item }];
    });
    const outcomes = await parts.registrar.register(
      requests.map(({ item }) => item),
      { workflow, actor: 'watch', signal },
    );
    const left = new Set(accepted.filter((_, at) => items[at] === 'again'));
    for (const [at, { name, item }] of requests.entries())
      if (!(await settle(name, item, outcomes[at] as RegistrationOutcome | Foreseen))) left.add(name);
    await refusals.save();
    return names.filter((name) => !left.has(name));
  }

  return async function* handle({ event, names }: ScanEvent, signal): AsyncGenerator<readonly string[]> {
    await refusals.load();
    if (event === 'delete') {
      for (const name of names) refusals.remove(name);
      await refusals.save();
      log.info(
        { source, folders: names.length, first: names.slice(0, 5) },
        'folders are gone from the source',
      );
      yield names;
      return;
    }
    if (event === 'full_scan') await forgetGone();
    const deleted = deletedOrigins(catalog, type);
    for (let at = 0; at < names.length; at += batch_size) {
      signal.throwIfAborted();
      yield await handleBatch(names.slice(at, at + batch_size), await deleted(), signal);
    }
  };
}

/** A full scan goes on for long, and what is deleted meanwhile may not come back by it. */
const REREAD_MS = 1000;

/**
 * Origin of each deleted dataset, and when it was deleted: a folder that is still there may not come back by itself.
 * Read again when it has grown old, and seldom enough to be a small part of the work.
 */
function deletedOrigins(
  catalog: Pick<Catalog, 'list'>,
  type: string,
): () => Promise<ReadonlyMap<string, string>> {
  let last = new Map<string, string>();
  let againAt = 0;
  return async () => {
    const started = performance.now();
    if (started < againAt) return last;
    last = await readDeleted(catalog, type);
    const ended = performance.now();
    againAt = ended + Math.max(REREAD_MS, 10 * (ended - started));
    return last;
  };
}

async function readDeleted(catalog: Pick<Catalog, 'list'>, type: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let offset = 0, limit = 1000; ; offset += limit) {
    const { datasets } = await catalog.list({ type, deleted: true, limit, offset });
    for (const { origin_path, updated_at } of datasets)
      if (!found.has(origin_path)) found.set(origin_path, updated_at);
    if (datasets.length < limit) return found;
  }
}

/** Stops walking as soon as the answer is known. Links count as themselves. */
export async function holdsAtLeast(folder: string, bytes: number): Promise<boolean> {
  let sum = 0;
  const folders = [folder];
  for (let at = folders.pop(); at !== undefined && sum < bytes; at = folders.pop()) {
    for (const entry of await readdir(at, { withFileTypes: true })) {
      const path = join(at, entry.name);
      const status = await lstat(path);
      if (status.isDirectory()) folders.push(path);
      else sum += status.size;
      if (sum >= bytes) return true;
    }
  }
  return sum >= bytes;
}

function notText(source: string, name: string): LongshoreError {
  return new LongshoreError(
    'E_NAME_UNSAFE',
    `the folder ${JSON.stringify(name)} in ${source} has a name that is not valid UTF-8`,
    { fields: { source, name }, hint: 'Rename it; names inside of a dataset may be any bytes.' },
  );
}
