/** Which copies a run of the scrub proves: those that were not looked at for longest, within the budget. */
import { dirname } from 'node:path';
import type { Config } from '../../config/index.ts';
import type { Archive } from '../../workers/archive/index.ts';
import type { CopyToProve as Candidate } from '../../workers/catalog/contract.ts';
import type { BundleCopy, Proof } from '../../workers/dataset/types.ts';

export type ScrubLevel = 'digest' | 'stream';
const DAY_MS = 86_400_000;

/** Candidates come in this order already, so that the first one that is not due ends the list. */
export function dueOf<C extends Pick<Candidate, 'looked_at'>>(
  candidates: readonly C[],
  prove_every_days: number,
  now = Date.now(),
): C[] {
  const before = new Date(now - prove_every_days * DAY_MS).toISOString();
  const fresh = candidates.findIndex(({ looked_at }) => looked_at !== null && looked_at > before);
  return fresh === -1 ? [...candidates] : candidates.slice(0, fresh);
}

export function levelOf({ fixity, archive: { backends } }: Config, archive: Archive): ScrubLevel {
  const kind = backends[archive.name]?.kind ?? '';
  const asked = fixity.levels[archive.name] ?? fixity.levels[kind];
  return asked ?? (archive.capabilities.range ? 'stream' : 'digest');
}

/** Bytes that it will read; a digest that the archive states costs nothing. */
export function costOf(
  copy: Pick<BundleCopy, 'size' | 'digests'>,
  level: ScrubLevel,
  archive: Archive,
): number {
  const { digest } = archive.capabilities;
  const stated = level === 'digest' && digest !== null && copy.digests[digest] !== undefined;
  return stated ? 0 : copy.size;
}

/**
 * What a run may still read. A copy that is larger than a whole budget would never fit, so the first one that reads
 * anything always may; being the one that waits for longest, each gets its turn.
 */
export class Budget {
  readonly #total: number;
  #spent = 0;
  #begun = false;

  constructor(total: number) {
    this.#total = total;
  }

  get spent(): number {
    return this.#spent;
  }

  allows(cost: number): boolean {
    return cost === 0 || !this.#begun || this.#spent + cost <= this.#total;
  }

  spend(bytes: number): void {
    if (bytes > 0) this.#begun = true;
    this.#spent += bytes;
  }
}

/** Archives that were found away in this run. By folder too: one archive may have a file system for each type and year. */
export class Outages {
  readonly #seen = new Set<string>();

  add({ archive, key, result, details }: Proof): void {
    if (result === 'unavailable' && details.code === 'E_ARCHIVE_UNAVAILABLE')
      this.#seen.add(placeOf(archive, key));
  }

  has({ archive, key }: Pick<BundleCopy, 'archive' | 'key'>): boolean {
    return this.#seen.has(placeOf(archive, key));
  }
}

const placeOf = (archive: string, key: string): string => JSON.stringify([archive, dirname(key)]);
