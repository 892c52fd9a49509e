/** What a check says. `longshore doctor --json` prints these, so ids stay what they are. */
export type Level = 'ok' | 'warning' | 'problem';

export interface Finding {
  /** Area and check, as `redis.persistence`. */
  readonly id: string;
  /** Which one, where there are several: a configuration key, a mount point, a program, an archive. */
  readonly subject: string | null;
  readonly level: Level;
  readonly seen: string;
  readonly expected: string;
  /** What to do; null when nothing is to be done. */
  readonly remedy: string | null;
}

interface Words {
  readonly subject?: string;
  readonly seen: string;
  readonly expected: string;
}

export const ok = (id: string, { subject, seen, expected }: Words): Finding => ({
  id,
  subject: subject ?? null,
  level: 'ok',
  seen,
  expected,
  remedy: null,
});

export const warning = (id: string, words: Words & { remedy: string }): Finding => ({
  ...ok(id, words),
  level: 'warning',
  remedy: words.remedy,
});

export const problem = (id: string, words: Words & { remedy: string }): Finding => ({
  ...ok(id, words),
  level: 'problem',
  remedy: words.remedy,
});

/** A finding of that level; the remedy is left out where all is well. */
export const finding = (level: Level, id: string, words: Words & { remedy: string }): Finding =>
  level === 'ok' ? ok(id, words) : { ...ok(id, words), level, remedy: words.remedy };

export const worst = (findings: readonly Finding[]): Level =>
  findings.some(({ level }) => level === 'problem')
    ? 'problem'
    : findings.some(({ level }) => level === 'warning')
      ? 'warning'
      : 'ok';

/** Version numbers by their parts, as far as both have them: negative when `one` is the older. */
export function compareVersions(one: string, other: string): number {
  const parts = (text: string): number[] => (/\d+(?:\.\d+)*/.exec(text)?.[0] ?? '0').split('.').map(Number);
  const [left, right] = [parts(one), parts(other)];
  for (let at = 0; at < Math.min(left.length, right.length); at += 1) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
