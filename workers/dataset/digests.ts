import type { Config, DigestName } from '../../config/index.ts';
import type { Catalog } from '../catalog/contract.ts';

const KNOWN: readonly string[] = ['blake3', 'md5', 'sha256'] satisfies DigestName[];
const isKnown = (name: string): name is DigestName => KNOWN.includes(name);

/** That the catalog's contract asks for, of every file and of the bundle. */
export const askedDigests = (catalog: Catalog): DigestName[] =>
  catalog.capabilities.memberDigests.filter(isKnown);

/** Of every file: the configured digests, and those that the catalog's contract asks for. */
export function memberDigestsOf(config: Config, catalog: Catalog): DigestName[] {
  return [...new Set([...config.digests.member, ...askedDigests(catalog)])];
}
