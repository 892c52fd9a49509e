import type { ManifestMember } from './manifest.ts';
import type { Member } from './walk.ts';

/** A group takes a few hundred bytes; further ones are stored as files of their own, which loses the link, not a byte. */
const MAX_GROUPS = 200_000;

/** The files that stand under several names, by the first name that was packed. */
export class HardLinks {
  readonly #groups = new Map<string, { first: ManifestMember; left: number; mtime_ns: bigint }>();

  /** What was packed of this file under an earlier name; null: this is the first one. */
  firstOf(member: Member): ManifestMember | null {
    if (member.nlink < 2) return null;
    const key = keyOf(member);
    const group = this.#groups.get(key);
    // A file that changed in between is packed anew: its first name has what it was then.
    if (group === undefined || group.mtime_ns !== member.mtime_ns || group.first.size !== member.size)
      return null;
    group.left -= 1;
    if (group.left === 0) this.#groups.delete(key); // Names outside of the dataset keep a group to the end.
    return group.first;
  }

  note(member: Member, packed: ManifestMember): void {
    if (member.nlink < 2 || packed.hard_link !== undefined || this.#groups.size >= MAX_GROUPS) return;
    this.#groups.set(keyOf(member), { first: packed, left: member.nlink - 1, mtime_ns: member.mtime_ns });
  }
}

const keyOf = ({ dev, ino }: Member): string => `${dev}:${ino}`;
