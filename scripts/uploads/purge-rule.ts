/** What the rules of the purge share. */
import { rmdirSync } from 'node:fs';
import type { Config } from '../../config/index.ts';
import type { Catalog } from '../../workers/catalog/contract.ts';
import { coerceError } from '../../workers/errors.ts';
import type { Logger } from '../../workers/log.ts';
import type { Records } from '../../workers/records/contract.ts';
import type { Uploads } from '../../workers/uploads/contract.ts';

export interface PurgeParts {
  readonly config: Config;
  readonly uploads: Uploads;
  readonly catalog: Catalog;
  readonly records: Records;
  readonly log: Logger;
}

export interface PurgeOptions {
  readonly ttl_days: number;
  readonly stale_uploading_days: number;
  readonly dry_run: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** What a rule is given. */
export interface Purge extends PurgeParts, PurgeOptions {
  /** Real paths. */
  readonly roots: readonly string[];
  /** Called with each path that goes, or would go. */
  readonly gone: (path: string) => void;
}

/** What one rule of the purge came to. */
export interface RuleTally {
  /** Removed, or what a dry run would remove: files, or whole folders of uploads. */
  deleted: number;
  /** Of files that were removed one by one. */
  bytes: number;
  /** Looked at and kept. */
  skipped: number;
  errors: number;
}

export const emptyTally = (): RuleTally => ({ deleted: 0, bytes: 0, skipped: 0, errors: 0 });

/** A failure is counted and told; the next one has its turn. */
export async function counted(
  tally: RuleTally,
  log: Logger,
  about: Record<string, unknown>,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { code, message, hint } = coerceError(error);
    tally.errors += 1;
    log.error({ ...about, code, reason: message, hint }, 'what an upload left could not be purged');
  }
}

/** False: something is in it, or it is not there. */
export function removeIfEmpty(folder: string): boolean {
  try {
    rmdirSync(folder);
    return true;
  } catch (error) {
    if (['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
