/**
 * File rows behind the API.
 *
 * The companion has them whole. The API's endpoint answers before it writes, keeps no word of an error, skips paths that
 * it has, and lists path and md5 only. So rows are sent as they come, and at the end of an inspection (`sweepFiles`) read
 * back and compared; what is missing is sent again until everything is there. The step that computed them ends after that.
 *
 * What the API cannot do is to change or remove a row. After a second inspection it may hold rows that are old: they are
 * counted, and stand in the dataset's metadata as `file_rows_outdated` until the API has none.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { delaySeconds } from '../../bioloop/delays.ts';
import type { ApiFileRow } from '../../bioloop/file-rows.ts';
import { type FileRow, SIZE_UNKNOWN } from '../../dataset/types.ts';
import { isLongshoreError, LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Catalog, CatalogWait, FileCatalog } from '../contract.ts';
import type { Known, RestParts } from './datasets.ts';
import { isAway } from './delivery.ts';
import { type BatchLimits, fileBatches } from './file-batches.ts';

export interface FileLimits extends BatchLimits {
  /** A step waits so long for an API that is away, or that does not write what it has taken. */
  readonly patience_seconds: number;
}

export const BATCH_BYTES = 40_000_000;
const OUTDATED = 'file_rows_outdated';
const PAGE = 2_000;
/** Rows that come late are those of the last batch: they are looked for at once, and then more and more seldom. */
const LOOKS_SECONDS = [0, 0.2, 1, 3, 10, 30];
/** Between looks at an API that is away, and whether somebody else has had an answer of it meanwhile. */
const LONGEST_WAIT_SECONDS = 60;
const BACK_SECONDS = 10;
/** As the API does for each batch. */
const ROWS_READ_PER_SECOND = 50_000;

export function filesBehind(
  parts: RestParts,
  known: Known,
  patch: Catalog['patch'],
  limits: FileLimits,
  log: Logger,
): FileCatalog {
  const { api, companion, delivery } = parts;
  const { catalog, mirror } = companion;
  /** Datasets whose rows here are whole, or about to be: this process has taken them over, or is inspecting. */
  const seen = new Set<number>();
  /** Datasets of which the API got less than all, or may have been stopped between rows and their place in its tree. */
  const interrupted = new Set<number>();
  const noteStop = (id: number, error: LongshoreError): void => {
    // One that is too busy to answer goes on with what it has.
    if (isAway(error) && error.fields.reason !== 'ETIMEDOUT') interrupted.add(id);
  };
  const batches = fileBatches(api, limits, noteStop, (id) => interrupted.add(id));

  async function sendAll(id: number): Promise<void> {
    // What is there says nothing of when the API is done with a batch that has it.
    const pause = ((await catalog.countFiles(id)) / ROWS_READ_PER_SECOND) * 1000 * limits.scale;
    for (let after: string | undefined; ; ) {
      const rows = await catalog.files(id, {
        limit: limits.batch_rows,
        ...(after === undefined ? {} : { after }),
      });
      if (rows.length > 0) await batches.send(id, rows);
      if (rows.length < limits.batch_rows) break;
      after = rows.at(-1)?.path;
      await sleep(pause);
    }
    await batches.written(id);
    interrupted.delete(id);
  }

  /** Every row of the API against the companion's, a page at a time: a million are never held at once. */
  async function compare(id: number): Promise<{ there: number; outdated: number }> {
    const found = { there: 0, outdated: 0 };
    for await (const page of api.readFileRows(id, PAGE)) {
      const rows = await catalog.filesAt(
        id,
        page.map(({ path }) => path),
      );
      const expected = new Map(rows.map((row) => [row.path, row.md5]));
      for (const { path, md5 } of page) {
        const ours = expected.get(path);
        if (ours !== undefined) found.there += 1;
        if (ours === undefined || ours !== md5) found.outdated += 1;
      }
    }
    return found;
  }

  /** Until the API has a row for each of ours. @throws E_API_UNAVAILABLE, E_API_FILES */
  async function complete(id: number, onWait: (wait: CatalogWait) => void): Promise<{ outdated: number }> {
    const expected = await catalog.countFiles(id);
    const begun = Date.now();
    const deadline = begun + limits.patience_seconds * 1000;
    await batches.written(id);
    let there = 0;
    let before = 0; // A turn of looks ago.
    for (let look = 0, failures = 0; ; look++) {
      try {
        let found = await compare(id);
        await delivery.noteHealth(null);
        if (interrupted.has(id)) {
          await sendAll(id);
          found = await compare(id);
        }
        if (found.there === expected) return { outdated: found.outdated };
        failures = 0;
        there = found.there;
        if (look > 0 && look % LOOKS_SECONDS.length === 0) {
          // Rows that were lost do not come by waiting. While there are more and more of them the API has enough to do.
          if (there <= before) await sendAll(id);
          before = there;
        }
      } catch (error) {
        if (!isLongshoreError(error) || !(isAway(error) || error.code === 'E_API_FAILED')) throw error;
        failures += 1;
        noteStop(id, error);
        if (Date.now() >= deadline) throw error;
        // Said once: an outage may last for hours.
        if (failures === 1)
          log.warn({ dataset_id: id, err: error }, 'waits for the API to have all file rows');
        await waitForApi(error, failures, begun, onWait);
        continue;
      }
      if (Date.now() >= deadline && look > LOOKS_SECONDS.length * 2) throw incomplete(id, expected, there);
      await sleep((LOOKS_SECONDS[(look + 1) % LOOKS_SECONDS.length] ?? 0) * 1000 * limits.scale);
    }
  }

  /** For a pause that grows to a minute, or until somebody else has had an answer. */
  async function waitForApi(
    error: LongshoreError,
    failures: number,
    since: number,
    onWait: (wait: CatalogWait) => void,
  ): Promise<void> {
    const away = isAway(error);
    if (away) await delivery.noteHealth(error);
    const seconds = Math.min(LONGEST_WAIT_SECONDS, delaySeconds(failures + 1));
    const over = Date.now() + seconds * 1000 * limits.scale;
    onWait({
      waits: `waits for the API since ${new Date(since).toISOString()}: ${error.message}`,
      code: error.code,
      next_attempt_at: new Date(over).toISOString(),
    });
    while (Date.now() < over) {
      await sleep(Math.min(BACK_SECONDS * 1000 * limits.scale, over - Date.now()));
      if (away && !(await delivery.isAway())) return;
    }
  }

  /** Whether the API has rows of another system (the reference, before this installation took over) that are not all here. */
  async function lacksRows(id: number): Promise<boolean> {
    const { num_files } = await catalog.get(id);
    if (num_files === null || num_files === 0) return false;
    return (await catalog.files(id, { limit: 1 })).length === 0 || (await mirror.hasPartialFiles(id));
  }

  /**
   * Takes them over, once. A part that a process has left which was killed, or whose API went away in the middle of its
   * answer, is marked as one: as the rows of a dataset it would make a good staged copy fail its validation. Rows that
   * are there stay, since an inspection may be at work.
   */
  async function takeOver(id: number): Promise<void> {
    if (seen.has(id)) return;
    await known.ensure(id);
    if (await lacksRows(id)) {
      await mirror.setFilesPartial(id, true);
      for await (const page of api.readFileRows(id, PAGE)) {
        const paths = page.map(({ path }) => path);
        const there = new Set((await catalog.filesAt(id, paths)).map(({ path }) => path));
        const lacking = page.filter(({ path }) => !there.has(path));
        await catalog.putFiles(id, lacking.map(rowTold), 'taken over');
      }
      await mirror.setFilesPartial(id, false);
    }
    seen.add(id);
  }

  /** The first inspection of a dataset with such rows leaves a part as well when it is killed. */
  async function beginInspection(id: number): Promise<void> {
    if (seen.has(id)) return;
    if (await lacksRows(id)) await mirror.setFilesPartial(id, true);
    seen.add(id);
  }

  return {
    putFiles: async (id, rows, generation) => {
      await known.ensure(id);
      await beginInspection(id);
      await catalog.putFiles(id, rows, generation);
      try {
        if (await delivery.isDown()) interrupted.add(id);
        else await batches.send(id, rows);
      } catch (error) {
        // They are sent again from the companion, when they are read back.
        if (!isLongshoreError(error) || !(isAway(error) || error.code === 'E_API_FAILED')) throw error;
        interrupted.add(id);
        log.warn({ dataset_id: id, rows: rows.length, err: error }, 'file rows will be sent again');
      }
    },

    sweepFiles: async (id, generation, onWait = () => undefined) => {
      await known.ensure(id);
      const swept = await catalog.sweepFiles(id, generation);
      if (await mirror.hasPartialFiles(id)) await mirror.setFilesPartial(id, false);
      const { outdated } = await complete(id, onWait);
      const before = (await catalog.get(id)).metadata[OUTDATED] ?? 0;
      if (outdated !== before) await patch(id, { metadata: { [OUTDATED]: outdated } });
      if (outdated > 0)
        log.warn(
          { dataset_id: id, outdated },
          'the API keeps file rows of an earlier inspection, which it can neither change nor remove',
        );
      return swept;
    },

    files: async (id, page) => {
      await takeOver(id);
      return await catalog.files(id, page);
    },
    filesAt: async (id, paths) => {
      await takeOver(id);
      return await catalog.filesAt(id, paths);
    },
    countFiles: async (id) => {
      await takeOver(id);
      return await catalog.countFiles(id);
    },
  };
}

/** The API tells path and md5; links have none. */
const rowTold = ({ path, md5 }: ApiFileRow): FileRow => ({
  path,
  md5,
  size: 0,
  type: md5 === null ? 'symbolic link' : 'file',
  digests: md5 === null ? {} : { md5 },
  fingerprint: SIZE_UNKNOWN,
});

const incomplete = (id: number, expected: number, there: number): LongshoreError =>
  new LongshoreError(
    'E_API_FILES',
    `the API has ${there} of the ${expected} file rows of dataset ${id}, though it took all of them`,
    { fields: { dataset_id: id, expected, there } },
  );
