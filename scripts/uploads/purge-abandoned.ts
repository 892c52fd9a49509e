/** The first rule: uploads that were never completed, and of which nothing has arrived for days. */
import { lstatSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { removeTree } from '../../workers/content/coreutils.ts';
import { LongshoreError } from '../../workers/errors.ts';
import { isArriving } from '../../workers/uploads/arrivals.ts';
import type { UploadLog } from '../../workers/uploads/contract.ts';
import { assertUploadRoot, payloadOf, STAGED_FILE } from '../../workers/uploads/roots.ts';
import { counted, emptyTally, removeIfEmpty, type Purge, type RuleTally } from './purge-rule.ts';

const DAY_MS = 86_400_000;
/** In the log of an upload that this script has given up: its files may go, also by a later run. */
const MARK = 'purged_by';
const SCRIPT = 'purge_stale_uploaded';

export async function purgeAbandoned(purge: Purge): Promise<RuleTally> {
  const { uploads, log, config } = purge;
  const tally = emptyTally();
  await counted(tally, log, {}, () => completeEarlier(purge, tally));
  await counted(tally, log, {}, async () => {
    for (const { dataset_id } of await uploads.expired({ age_days: purge.stale_uploading_days })) {
      if (purge.signal?.aborted === true) return;
      await counted(tally, log, { dataset_id }, async () => {
        const upload = await uploads.log(dataset_id);
        assertUploadRoot(config, upload.dataset.type);
        if (upload.status !== 'UPLOADING' || isArriving(upload, purge.roots, sinceOf(purge)))
          tally.skipped += 1;
        else await abandon(purge, upload, tally);
      });
    }
  });
  return tally;
}

const sinceOf = ({ stale_uploading_days }: Purge): number => Date.now() - stale_uploading_days * DAY_MS;

/** The status first: nobody may resume an upload whose files go. */
async function abandon(purge: Purge, upload: UploadLog, tally: RuleTally): Promise<void> {
  const failure_reason = `nothing of it has arrived for ${purge.stale_uploading_days} days`;
  const metadata = { failure_reason, failed_at: new Date().toISOString(), [MARK]: SCRIPT };
  if (!purge.dry_run)
    await purge.uploads.patch(upload.dataset_id, { status: 'PERMANENTLY_FAILED', metadata });
  purge.log.info({ dataset_id: upload.dataset_id, name: upload.dataset.name }, failure_reason);
  await removeFiles(purge, upload);
  tally.deleted += 1;
}

/** A run that was killed after the status has left files that no list of stale uploads names any more. */
async function completeEarlier(purge: Purge, tally: RuleTally): Promise<void> {
  for (const { dataset_id, origin_path } of await purge.uploads.givenUp()) {
    if (purge.signal?.aborted === true) return;
    if (origin_path === null || !isThere(origin_path)) continue;
    await counted(tally, purge.log, { dataset_id }, async () => {
      const upload = await purge.uploads.log(dataset_id);
      if (upload.metadata[MARK] !== SCRIPT || upload.status !== 'PERMANENTLY_FAILED') return;
      await removeFiles(purge, upload);
      tally.deleted += 1;
    });
  }
}

async function removeFiles(purge: Purge, { dataset_id, process_id, dataset }: UploadLog): Promise<void> {
  const { config, roots, dry_run } = purge;
  const names = process_id !== null && STAGED_FILE.test(process_id) ? [process_id, `${process_id}.json`] : [];
  for (const path of roots.flatMap((root) => names.map((name) => join(root, name)))) {
    if (lstatSync(path, { throwIfNoEntry: false })?.isFile() !== true) continue;
    if (!dry_run) unlinkSync(path);
    purge.gone(path);
  }
  const payload = dataset.origin_path === null ? null : payloadOf(config, roots, dataset.origin_path);
  if (payload === null) return;
  if (payload.owner !== String(dataset_id)) throw notIts(payload.path, dataset_id);
  if (!dry_run) {
    await removeTree(payload.path);
    removeIfEmpty(dirname(payload.path));
  }
  purge.gone(payload.path);
}

const notIts = (path: string, dataset_id: number): LongshoreError =>
  new LongshoreError('E_NAME_UNSAFE', `${path} is not the folder of dataset ${dataset_id}; it is kept`, {
    fields: { path, dataset_id },
  });

const isThere = (path: string): boolean => {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return false;
    throw error;
  }
};
