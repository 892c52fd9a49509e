import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const folder = import.meta.dirname;

/**
 * How long ago something was saved that the configuration is read from: a file of config/, that folder (a file that is
 * renamed into its place keeps its own time), or `.env`. Infinity where nobody can tell.
 */
export function secondsSinceSave(dotenv: string | null): number {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
  const saved = [folder, ...files, ...(dotenv === null ? [] : [dotenv])].map(savedAt);
  const seconds = (Date.now() - Math.max(...saved)) / 1000;
  // A time to come is that of another clock, and would never be over.
  return seconds >= 0 ? seconds : Number.POSITIVE_INFINITY;
}

function savedAt(path: string): number {
  try {
    return statSync(path).mtimeMs;
  } catch {
    return Number.NEGATIVE_INFINITY; // Gone since it was listed, or not there.
  }
}
