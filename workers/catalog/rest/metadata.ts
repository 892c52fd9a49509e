/**
 * The API merges metadata by position too: over a list it writes item by item, and what a shorter list does not name stays;
 * of an object over a list nothing is left. Other catalogs replace a list whole, and tasks count on it. What is null there
 * gives way to anything, so lists that would stay are made null first.
 */
type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether what the API has matters: values that are neither list nor object replace anything. */
export const hasStructure = (metadata: Json): boolean =>
  Object.values(metadata).some((value) => typeof value === 'object' && value !== null);

/** Null at every list of the API that the patch would be merged into; null when there is none. */
export function listsInTheWay(before: Json, patch: Json): Json | null {
  const nulls: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(patch)) {
    const there = before[key];
    if (Array.isArray(there)) {
      if (typeof value === 'object' && value !== null) nulls[key] = null;
    } else if (isObject(there) && isObject(value)) {
      const inner = listsInTheWay(there, value);
      if (inner !== null) nulls[key] = inner;
    }
  }
  return Object.keys(nulls).length === 0 ? null : nulls;
}
