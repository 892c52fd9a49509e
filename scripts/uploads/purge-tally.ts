import { rmdirSync } from 'node:fs';
import { coerceError } from '../../workers/errors.ts';
import type { Logger } from '../../workers/log.ts';

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
