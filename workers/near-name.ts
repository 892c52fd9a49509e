/** What somebody may have meant who has mistyped a name. */

/** So many edits make one name of another, and no more are a slip. */
export const slipsOf = (name: string): number => Math.max(1, Math.floor(name.length / 3));

/** The likest of the known names; null where none is like it. */
export function nearestOf(name: string, known: readonly string[]): string | null {
  const [best] = known
    .map((one) => ({ one, edits: editsBetween(one, name) }))
    .toSorted((a, b) => a.edits - b.edits);
  return best !== undefined && best.edits <= slipsOf(name) ? best.one : null;
}

/** Letters that are put in, left out or exchanged (Levenshtein). */
export function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(changed, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
