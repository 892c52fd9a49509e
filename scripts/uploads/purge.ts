/** Removes what uploads leave behind, by the four rules of spec 8.6. Only below the upload roots, and no link is followed. */
import { uploadRoots } from '../../workers/uploads/roots.ts';
import { purgeAbandoned } from './purge-abandoned.ts';
import { purgeArchived } from './purge-archived.ts';
import { purgeMirrors, purgeStagedFiles } from './purge-files.ts';
import { emptyTally, type Purge, type PurgeOptions, type PurgeParts, type RuleTally } from './purge-rule.ts';

export interface PurgeReport {
  /** Uploads that were never completed, with all that had arrived of them. */
  readonly abandoned: RuleTally;
  /** Files of resumable uploads that nobody resumes. */
  readonly staged_files: RuleTally;
  /** Notes about files that have arrived, of uploads that are over. */
  readonly mirrors: RuleTally;
  /** Folders of uploads that are archived. */
  readonly archived: RuleTally;
  readonly roots: readonly string[];
  readonly removed: readonly string[];
}

/** In the order of the rules. What fails is counted, and the next has its turn. */
export async function purgeUploads(parts: PurgeParts, options: PurgeOptions): Promise<PurgeReport> {
  const roots = uploadRoots(parts.config);
  const removed: string[] = [];
  const purge: Purge = { ...parts, ...options, roots, gone: (path) => removed.push(path) };
  // Nothing to purge on a host that has none of them.
  const run = (rule: (purge: Purge) => Promise<RuleTally>): Promise<RuleTally> =>
    roots.length === 0 || options.signal?.aborted === true ? Promise.resolve(emptyTally()) : rule(purge);
  return {
    abandoned: await run(purgeAbandoned),
    staged_files: await run(purgeStagedFiles),
    mirrors: await run(purgeMirrors),
    archived: await run(purgeArchived),
    roots,
    removed,
  };
}
