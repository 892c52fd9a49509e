/** FastQC's results of reads that have not changed are taken over: what was read is known by its digest. */
import { existsSync, linkSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join, relative } from 'node:path';
import { writeSmall } from '../content/files.ts';
import { removeTree } from '../content/publish.ts';
import type { Reads } from '../content/reads.ts';
import type { TaskContext } from './contract.ts';

const NOTES = 'reads.json';

/** By sample name: digest of the reads that its result was made of. */
type Notes = Record<string, string>;

export interface QcResults {
  /** What is left to be looked at. */
  readonly missing: readonly Reads[];
  /** Notes that the results of these are in the folder now: a run that is killed goes on behind them. */
  done(reads: readonly Reads[]): void;
}

/**
 * Takes over results from the published folder into the new one, which may hold some of a killed run itself.
 * @param root the staged copy, links resolved
 */
export async function takeOverResults(
  ctx: TaskContext,
  reads: readonly Reads[],
  { root, folder, published }: { root: string; folder: string; published: string },
): Promise<QcResults> {
  const digests = await digestsOf(ctx, reads, root);
  const here = notesIn(folder);
  const before = notesIn(published);
  const notes: Notes = {};
  const missing = reads.filter(({ path, sample }) => {
    const digest = digests.get(path);
    if (digest === undefined) return true;
    const there = here[sample] === digest && resultsOf(folder, sample).length > 0;
    if (!there && !(before[sample] === digest && takeOver(published, folder, sample))) return true;
    notes[sample] = digest;
    return false;
  });
  // What else a killed run left: results of reads that are gone, half of a report.
  const wanted = new Set(Object.keys(notes).flatMap((sample) => resultsOf(folder, sample)));
  for (const name of readdirSync(folder)) if (!wanted.has(name)) await removeTree(join(folder, name));
  write(folder, notes);
  return {
    missing,
    done: (some) => {
      for (const { path, sample } of some) {
        const digest = digests.get(path);
        if (digest !== undefined) notes[sample] = digest;
      }
      write(folder, notes);
    },
  };
}

/** By path; a file whose digest the catalog does not know has none. */
async function digestsOf(
  ctx: TaskContext,
  reads: readonly Reads[],
  root: string,
): Promise<Map<string, string>> {
  const paths = new Map(reads.map(({ path }) => [relative(root, path), path]));
  const rows = await ctx.catalog.filesAt(ctx.dataset_id, [...paths.keys()]);
  return new Map(
    rows.flatMap((row) => {
      const [[name, digest] = []] = Object.entries(row.digests);
      const path = paths.get(row.path);
      return digest === undefined || path === undefined ? [] : [[path, `${name}:${digest}`] as const];
    }),
  );
}

const resultsOf = (folder: string, sample: string): string[] =>
  ['_fastqc.zip', '_fastqc.html']
    .map((end) => `${sample}${end}`)
    .filter((name) => existsSync(join(folder, name)));

function takeOver(from: string, to: string, sample: string): boolean {
  const names = resultsOf(from, sample);
  if (!names.includes(`${sample}_fastqc.zip`)) return false;
  for (const name of names) if (!existsSync(join(to, name))) linkSync(join(from, name), join(to, name));
  return true;
}

function notesIn(folder: string): Notes {
  try {
    return JSON.parse(readFileSync(join(folder, NOTES), 'utf8')) as Notes;
  } catch {
    return {}; // None yet, or not whole: then all is looked at again.
  }
}

function write(folder: string, notes: Notes): void {
  const path = join(folder, NOTES);
  writeSmall(`${path}.new`, JSON.stringify(notes));
  renameSync(`${path}.new`, path);
}
