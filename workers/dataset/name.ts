/**
 * The name under which a dataset is recorded: every character outside `[A-Za-z0-9_]` becomes a dash, runs of dashes
 * become one. It may differ from the folder's name, and two folders may come to the same one (the second conflicts).
 */
export function normaliseName(name: string): string {
  return name.replace(/[^A-Za-z0-9_]+/g, '-');
}
