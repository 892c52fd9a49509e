import { LongshoreError } from '../errors.ts';
import type { ManifestMember } from './manifest.ts';
import { shownPath } from './path.ts';
import type { Member } from './walk.ts';

/** A group takes a few hundred bytes; further ones are stored as files of their own, which loses the link, not a byte. */
const MAX_GROUPS = 200_000;

interface Group {
  readonly first: ManifestMember;
  /** Names not met yet; some of them may lie outside of the dataset. */
  left: number;
  readonly mtime_ns: bigint;
  readonly ctime_ns: bigint;
}

/** The files that stand under several names, by the first name that was packed. */
export class HardLinks {
  readonly #groups = new Map<string, Group>();
  readonly #most: number;

  constructor(most = MAX_GROUPS) {
    this.#most = most;
  }

  /**
   * What was packed of this file under an earlier name; null: this is the first one.
   * @throws E_SOURCE_CHANGED it is not what it was then: the bundle would hold two states of one file
   */
  firstOf(member: Member): ManifestMember | null {
    if (member.nlink < 2) return null;
    const key = keyOf(member);
    const group = this.#groups.get(key);
    if (group === undefined) return null;
    const same = group.mtime_ns === member.mtime_ns && group.ctime_ns === member.ctime_ns;
    if (!same || group.first.size !== member.size) throw changed(member.path, 'was modified');
    group.left -= 1;
    if (group.left === 0) this.#groups.delete(key); // Names outside of the dataset keep a group to the end.
    return group.first;
  }

  note(member: Member, packed: ManifestMember): void {
    if (member.nlink < 2 || packed.hard_link !== undefined || this.#groups.size >= this.#most) return;
    const { nlink, mtime_ns, ctime_ns } = member;
    this.#groups.set(keyOf(member), { first: packed, left: nlink - 1, mtime_ns, ctime_ns });
  }
}

const keyOf = ({ dev, ino }: Member): string => `${dev}:${ino}`;

export function changed(path: string, how: string): LongshoreError {
  const shown = shownPath(path);
  return new LongshoreError('E_SOURCE_CHANGED', `"${shown}" ${how} while it was read`, {
    fields: { path: shown, reason: how },
  });
}
