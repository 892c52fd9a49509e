/** The second and the third rule: files at the top of an upload root, and notes of what has arrived. */
import { type Dirent, lstatSync, readdirSync, type Stats, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isLongshoreError } from '../../workers/errors.ts';
import { MIRROR, STAGED_ABOUT, STAGED_FILE } from '../../workers/uploads/roots.ts';
import { counted, emptyTally, removeIfEmpty, type Purge, type RuleTally } from './purge-rule.ts';

const DAY_MS = 86_400_000;
/** Nothing more arrives of these. */
const OVER: ReadonlySet<string> = new Set([
  'COMPLETE',
  'PERMANENTLY_FAILED',
  'UPLOAD_FAILED',
  'VERIFICATION_FAILED',
]);

export async function purgeStagedFiles(purge: Purge): Promise<RuleTally> {
  const tally = emptyTally();
  const limit = Date.now() - purge.ttl_days * DAY_MS;
  for (const root of purge.roots) {
    const names = entriesOf(root)
      .map(({ name }) => name)
      .filter((name) => STAGED_FILE.test(name) || STAGED_ABOUT.test(name));
    for (const name of names) {
      if (purge.signal?.aborted === true) return tally;
      await counted(tally, purge.log, { root, name }, async () =>
        purgeStaged(purge, tally, root, name, limit),
      );
    }
  }
  return tally;
}

function purgeStaged(purge: Purge, tally: RuleTally, root: string, name: string, limit: number): void {
  const path = join(root, name);
  const stats = look(path);
  // Directories never, and no links.
  const old = stats?.isFile() === true && stats.mtimeMs < limit;
  // What a file says of itself is written once; without it, one that still grows cannot be resumed.
  const data = STAGED_ABOUT.test(name) ? look(path.slice(0, -'.json'.length)) : null;
  if (stats !== null && old && (data === null || data.mtimeMs < limit)) remove(purge, tally, path, stats);
  else tally.skipped += 1;
}

export async function purgeMirrors(purge: Purge): Promise<RuleTally> {
  const tally = emptyTally();
  for (const root of purge.roots) {
    const mirror = join(root, MIRROR);
    if (look(mirror)?.isDirectory() !== true) continue;
    for (const entry of entriesOf(mirror)) {
      if (purge.signal?.aborted === true) return tally;
      if (!entry.isDirectory() || !/^[0-9]{1,15}$/.test(entry.name)) continue;
      const folder = join(mirror, entry.name);
      await counted(tally, purge.log, { folder }, () =>
        purgeMirror(purge, tally, folder, Number(entry.name)),
      );
    }
  }
  return tally;
}

async function purgeMirror(
  purge: Purge,
  tally: RuleTally,
  folder: string,
  dataset_id: number,
): Promise<void> {
  const over = await isOver(purge, dataset_id);
  const files = entriesOf(folder).filter((entry) => entry.isFile() && entry.name.endsWith('.json'));
  if (!over) {
    tally.skipped += files.length;
    return;
  }
  for (const { name } of files) {
    const stats = look(join(folder, name));
    if (stats !== null) remove(purge, tally, join(folder, name), stats);
  }
  if (!purge.dry_run && removeIfEmpty(folder)) purge.gone(folder);
}

async function isOver({ uploads }: Purge, dataset_id: number): Promise<boolean> {
  try {
    return OVER.has((await uploads.log(dataset_id)).status);
  } catch (error) {
    if (isLongshoreError(error) && error.code === 'E_UPLOAD_NOT_FOUND') return true;
    throw error;
  }
}

function remove(purge: Purge, tally: RuleTally, path: string, { size }: Stats): void {
  if (!purge.dry_run) unlinkSync(path);
  purge.gone(path);
  tally.deleted += 1;
  tally.bytes += size;
}

const entriesOf = (folder: string): Dirent[] => readdirSync(folder, { withFileTypes: true });
const look = (path: string): Stats | null => lstatSync(path, { throwIfNoEntry: false }) ?? null;
