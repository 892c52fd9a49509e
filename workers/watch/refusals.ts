import type { Records } from '../records/contract.ts';

/**
 * Why a folder of a source is not registered:
 *
 * | kind    | the folder                                                    |
 * | ------- | ------------------------------------------------------------- |
 * | taken   | comes to the name of another dataset                          |
 * | unsafe  | has a name that cannot be recorded, or is a link to a folder  |
 * |         | of another user                                               |
 * | small   | is below `minimum_dataset_size`                               |
 * | deleted | belongs to a dataset that was deleted                         |
 * | failed  | could not be looked at or recorded; it is tried again         |
 */
export type RefusalKind = 'taken' | 'unsafe' | 'small' | 'deleted' | 'failed';

export interface Refusal {
  readonly name: string;
  readonly kind: RefusalKind;
  readonly reason: string;
  /** ISO 8601: refused for this reason since then. */
  readonly since: string;
}

export interface RefusalNote {
  readonly total: number;
  readonly folders: readonly Refusal[];
}

/** So many are kept for others to read; the rest is counted, and told again by the full scan after a restart. */
const KEPT = 1000;

type Notes = Pick<Records, 'note' | 'setNote'>;

const keyOf = (source: string): string => `watch.refused:${source}`;

/** What the watch of a source has refused, for who asks later. */
export async function refusalsOf(records: Pick<Records, 'note'>, source: string): Promise<RefusalNote> {
  return ((await records.note(keyOf(source))) ?? { total: 0, folders: [] }) as RefusalNote;
}

export interface Refusals {
  /** True when the reason is another one than before: a scan repeats every few seconds for ever. */
  add(name: string, kind: RefusalKind, reason: string): boolean;
  /** It is registered, rejected by now, or gone. */
  remove(name: string): void;
  names(kind: RefusalKind): string[];
  load(): Promise<void>;
  /** Writes what has changed. */
  save(): Promise<void>;
}

/** Kept with the records of one source, so that not only the log tells of them. */
export function createRefusals(records: Notes, source: string): Refusals {
  const refused = new Map<string, Refusal>();
  let loaded = false;
  let changed = false;
  return {
    add(name, kind, reason) {
      if (refused.get(name)?.reason === reason) return false;
      refused.set(name, { name, kind, reason, since: new Date().toISOString() });
      changed = true;
      return true;
    },
    remove(name) {
      if (refused.delete(name)) changed = true;
    },
    names: (kind) => [...refused.values()].filter((one) => one.kind === kind).map(({ name }) => name),
    async load() {
      if (loaded) return;
      const { folders } = await refusalsOf(records, source);
      for (const one of folders) if (!refused.has(one.name)) refused.set(one.name, one);
      loaded = true;
    },
    async save() {
      if (!changed) return;
      const note: RefusalNote = { total: refused.size, folders: [...refused.values()].slice(0, KEPT) };
      await records.setNote(keyOf(source), refused.size === 0 ? null : note);
      changed = false;
    },
  };
}
