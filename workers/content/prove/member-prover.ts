import type { DigestName } from '../../../config/index.ts';
import { isLongshoreError } from '../../errors.ts';
import {
  createHasher,
  digestMismatch,
  digestOf,
  type Digests,
  feedZeros,
  type Hasher,
} from '../digest/digest.ts';
import { type Differences, isDamage } from '../compare/differences.ts';
import { type ManifestMember, ManifestReader } from '../manifest.ts';
import { containedPath, shownPath } from '../path.ts';
import type { Counters } from '../ring.ts';
import { BLOCK, MEMBER_TYPES } from '../tar/header.ts';
import { type TarMember, TarMembers } from '../tar/members.ts';
import type { TarSource } from '../tar/source.ts';

export interface MemberProverOptions {
  /** Known to be complete, and to belong to this bundle. */
  readonly manifest: string;
  readonly source: TarSource;
  readonly differences: Differences;
  readonly progress: Counters;
}

/** A further name of a file that stands earlier in the bundle: a header, and no data of its own. */
type Known = ManifestMember & { readonly hard_link?: string };

/** The bundle ended inside of a member: nothing behind it can be read. */
class CutShort extends Error {}

/**
 * Compares a bundle with its manifest, member by member, and tells every difference instead of ending at the first:
 * whoever has to repair a copy wants to know which files are sound. The manifest knows where the data of each file
 * lies, so that a damaged header costs the sight of itself and of the links and folders behind it, not of the files.
 */
export class MemberProver {
  readonly #manifest: ManifestReader;
  readonly #source: TarSource;
  readonly #members: TarMembers;
  readonly #differences: Differences;
  readonly #progress: Counters;
  /** One digest proves a member, as in unpacking. */
  readonly #digests: readonly DigestName[];
  /** Where the next header stands is not known. */
  #lost = false;

  constructor({ manifest, source, differences, progress }: MemberProverOptions) {
    this.#manifest = new ManifestReader(manifest);
    this.#source = source;
    this.#members = new TarMembers(source);
    this.#differences = differences;
    this.#progress = progress;
    this.#digests = this.#manifest.header.member_digests.slice(0, 1);
  }

  /** Gives the number of members that the manifest lists. */
  run(): number {
    try {
      for (let known = this.#manifest.next(); known !== null; known = this.#manifest.next()) {
        this.#prove(known);
        this.#progress.add(0, 1);
      }
      this.#end();
    } catch (error) {
      if (!(error instanceof CutShort)) throw error;
      let behind = 0;
      while (this.#manifest.next() !== null) behind += 1;
      if (behind > 0) this.#differences.add(null, 'members', 'all of them', `the last ${behind} are cut off`);
    } finally {
      this.#manifest.close();
    }
    return this.#manifest.trailer.counts.members;
  }

  #prove(known: Known): void {
    const offset = known.hard_link === undefined ? known.offset : undefined;
    if (this.#lost) {
      if (offset === undefined) return;
      // Its own header is the block before its data, or, of a sparse file, before its map.
      if (!this.#skipTo(offset - BLOCK)) return this.#passed(known, offset);
      this.#lost = false;
    }
    const member = this.#header(known);
    if (member !== null) this.#compare(known, member);
    if (offset === undefined) {
      // A folder with bytes behind it is none; where they end is not for its header to say.
      if (member !== null && member.stored > 0) this.#lost = true;
    } else if (known.sparse === true) this.#sparse(known, offset, member);
    else this.#whole(known, offset);
  }

  #header(known: Known): TarMember | null {
    const path = shownPath(known.path);
    const at = this.#source.offset;
    try {
      const member = this.#members.next();
      if (member !== null) return member;
      this.#differences.add(path, 'header', 'a header', `the end mark at byte ${at}`);
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#differences.addDamage(path, error);
      if (this.#source.ended) throw new CutShort();
    }
    this.#lost = true;
    return null;
  }

  #compare(known: Known, member: TarMember): void {
    const path = shownPath(known.path);
    const differs = (what: string, expected: string, actual: string): void => {
      if (expected !== actual) this.#differences.add(path, what, expected, actual);
    };
    differs('name', path, shownPath(plainPath(member.name)));
    const type = known.hard_link === undefined ? known.type : 'hard link';
    differs('type', type, MEMBER_TYPES[member.type] ?? `type ${JSON.stringify(member.type)}`);
    if (type === 'file') {
      differs('size in the header', String(known.size), String(member.size));
      differs('place', String(known.offset), String(member.offset));
    }
    if (type === 'symbolic link') {
      differs('link target', shownPath(known.target ?? ''), shownPath(member.link));
    }
  }

  #whole(known: Known, offset: number): void {
    if (!this.#skipTo(offset)) return this.#passed(known, offset);
    this.#lost = false;
    this.#reading(known, () => {
      this.#digest(known, this.#plain(known.size));
      this.#padding(known, known.size);
    });
  }

  /** Without its headers nobody knows how much of it is stored. */
  #sparse(known: Known, offset: number, member: TarMember | null): void {
    if (
      member === null ||
      member.extents === null ||
      member.offset !== offset ||
      member.size !== known.size
    ) {
      this.#lost = true;
      return this.#differences.add(
        shownPath(known.path),
        'data',
        'a map of its parts',
        'no map to read it by',
      );
    }
    const { extents, size, stored } = member;
    this.#reading(known, () => {
      const hasher = createHasher(this.#digests);
      let at = 0;
      for (const extent of extents) {
        feedZeros(hasher, extent.offset - at);
        this.#feed(hasher, extent.length);
        at = extent.offset + extent.length;
      }
      feedZeros(hasher, size - at);
      this.#digest(known, hasher.digests());
      this.#padding(known, stored);
    });
  }

  /** @throws CutShort where the bundle ends, after telling so */
  #reading(known: Known, read: () => void): void {
    try {
      read();
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#differences.addDamage(shownPath(known.path), error);
      throw new CutShort();
    }
  }

  #plain(size: number): Digests {
    if (size === 0) return digestOf(this.#digests, Buffer.alloc(0));
    const first = this.#source.some(size);
    if (first.length === size) return digestOf(this.#digests, first);
    const hasher = createHasher(this.#digests);
    hasher.update(first);
    this.#feed(hasher, size - first.length);
    return hasher.digests();
  }

  #feed(hasher: Hasher, length: number): void {
    for (let left = length; left > 0; ) {
      const bytes = this.#source.some(left);
      hasher.update(bytes);
      left -= bytes.length;
    }
  }

  #digest(known: Known, digests: Digests): void {
    const wanted: Digests = {};
    for (const name of this.#digests) wanted[name] = known.digests?.[name] ?? 'none in the manifest';
    const wrong = digestMismatch(wanted, digests);
    if (wrong !== null)
      this.#differences.add(shownPath(known.path), wrong.digest, wrong.expected, String(wrong.actual));
  }

  #padding(known: Known, stored: number): void {
    const at = this.#source.offset;
    const bytes = this.#source.exactly((BLOCK - (stored % BLOCK)) % BLOCK);
    const place = bytes.findIndex((byte) => byte !== 0);
    if (place !== -1)
      this.#differences.add(shownPath(known.path), 'padding', 'zeros', `another byte at ${at + place}`);
  }

  /** The end mark, and nothing but zeros behind it. */
  #end(): void {
    if (this.#lost) return;
    try {
      const extra = this.#members.next();
      if (extra !== null) {
        const path = shownPath(plainPath(extra.name));
        return this.#differences.add(path, 'in the manifest', 'no further member', 'a member');
      }
    } catch (error) {
      if (!isDamage(error)) throw error;
      return this.#differences.addDamage(null, error);
    }
    while (!this.#source.ended) {
      const at = this.#source.offset;
      const place = this.#source.some(BLOCK).findIndex((byte) => byte !== 0);
      if (place === -1) continue;
      return this.#differences.add(null, 'end', 'zeros', `another byte at ${at + place}`);
    }
  }

  /** False when that place has gone by. @throws CutShort */
  #skipTo(offset: number): boolean {
    if (this.#source.offset > offset) return false;
    try {
      this.#source.skip(offset - this.#source.offset);
      return true;
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#differences.addDamage(null, error);
      throw new CutShort();
    }
  }

  #passed(known: Known, offset: number): void {
    this.#lost = true;
    const actual = `passed over: headers before it reach up to byte ${this.#source.offset}`;
    this.#differences.add(shownPath(known.path), 'data', `at byte ${offset}`, actual);
  }
}

/** As the manifest has it; a name that leads outside is told as it is. */
function plainPath(name: string): string {
  try {
    return containedPath(name);
  } catch (error) {
    if (isLongshoreError(error)) return name;
    throw error;
  }
}
