/** One look at all uploads that wait for something (spec 8.5): stale ones, stalled ones, failed ones. */
import { coerceError } from '../../workers/errors.ts';
import { isArriving } from '../../workers/uploads/arrivals.ts';
import type { ListedUpload, UploadLog } from '../../workers/uploads/contract.ts';
import { type Next, nextOf, type Patience } from '../../workers/uploads/next.ts';
import { assertUploadRoot, uploadRoots } from '../../workers/uploads/roots.ts';
import { failStale, giveUp, land, rejectUpload, spawnVerification, type UploadParts } from './act.ts';
import { patienceOf, verificationOf } from './verification.ts';

export interface ManageOptions {
  readonly max_retries: number;
  readonly dry_run: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface UploadCounts {
  verification_spawned: number;
  /** Verified, or landed after it. */
  verified_triggered: number;
  verification_failed: number;
  failed_retried: number;
  permanently_failed: number;
  stale_uploading_failed: number;
  errors: number;
}

export interface UploadRow {
  readonly dataset_id: number;
  readonly name: string;
  readonly status: string;
  readonly action: string;
  readonly note: string;
}

export interface ManageReport {
  readonly counts: UploadCounts;
  readonly rows: readonly UploadRow[];
}

type Count = keyof UploadCounts;
/** What was done, what it counts as, and why. */
type Done = readonly [action: string, count: Count | null, note: string];

/** Those that have waited for longer lie beyond what anybody still expects to be landed. */
const FAILED_WITHIN_HOURS = 30 * 24;

/** Never throws: what fails is counted and logged, and the next upload, and the next kind of uploads, has its turn. */
export async function manageUploads(parts: UploadParts, options: ManageOptions): Promise<ManageReport> {
  const run = new Run(parts, options);
  const { uploads, config } = parts;
  const age_days = config.uploads.stale_uploading_hours / 24;
  await run.each(
    'stale',
    () => uploads.expired({ age_days }),
    (log) => run.stale(log),
  );
  await run.each(
    'stalled',
    () => uploads.stalled(),
    (log) => run.go(log),
  );
  await run.each(
    'failed',
    () => uploads.failed({ max_age_hours: FAILED_WITHIN_HOURS }),
    (log) => run.go(log),
  );
  return { counts: run.counts, rows: run.rows };
}

class Run {
  readonly counts: UploadCounts = {
    verification_spawned: 0,
    verified_triggered: 0,
    verification_failed: 0,
    failed_retried: 0,
    permanently_failed: 0,
    stale_uploading_failed: 0,
    errors: 0,
  };
  readonly rows: UploadRow[] = [];
  readonly #parts: UploadParts;
  readonly #options: ManageOptions;
  readonly #patience: Patience;

  constructor(parts: UploadParts, options: ManageOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#patience = patienceOf(parts.config, options.max_retries);
  }

  async each(
    stage: string,
    list: () => Promise<ListedUpload[]>,
    handle: (log: UploadLog) => Promise<Done>,
  ): Promise<void> {
    let listed: ListedUpload[] = [];
    try {
      listed = await list();
    } catch (error) {
      this.#failed({ stage }, error);
    }
    for (const { dataset_id, dataset_name: name } of listed) {
      if (this.#options.signal?.aborted === true) return;
      let status = '';
      try {
        // What was listed may have gone on since.
        const log = await this.#parts.uploads.log(dataset_id);
        status = log.status;
        const [action, count, note] = await handle(log);
        if (count !== null) this.counts[count] += 1;
        this.rows.push({ dataset_id, name, status, action, note });
        if (count !== null) this.#parts.log.info({ dataset_id, name, status, action, note }, 'upload');
      } catch (error) {
        const note = this.#failed({ stage, dataset_id, name }, error);
        this.rows.push({ dataset_id, name, status, action: 'error', note });
      }
    }
  }

  #failed(about: Record<string, unknown>, error: unknown): string {
    const { code, message, hint } = coerceError(error);
    this.counts.errors += 1;
    this.#parts.log.error({ ...about, code, reason: message, hint }, 'uploads could not be dealt with');
    return `${code}: ${message}`;
  }

  async stale(log: UploadLog): Promise<Done> {
    if (log.status !== 'UPLOADING') return ['wait', null, `it is ${log.status} now`];
    const { config } = this.#parts;
    const hours = config.uploads.stale_uploading_hours;
    assertUploadRoot(config, log.dataset.type);
    if (isArriving(log, uploadRoots(config), Date.now() - hours * 3_600_000))
      return ['wait', null, 'its bytes still arrive'];
    const reason = `nothing of it has arrived for ${hours} h`;
    if (!this.#options.dry_run) await failStale(this.#parts, log, reason);
    return ['UPLOAD_FAILED', 'stale_uploading_failed', reason];
  }

  async go(log: UploadLog): Promise<Done> {
    const task = await verificationOf(this.#parts.records, log);
    const next = nextOf(log, task, this.#patience, Date.now());
    return this.#options.dry_run ? planned(next) : this.#act(log, next);
  }

  async #act(log: UploadLog, next: Next): Promise<Done> {
    const parts = this.#parts;
    switch (next.do) {
      case 'wait':
        return planned(next);
      case 'verify':
        return [
          'verify',
          'verification_spawned',
          `task ${await spawnVerification(parts, log, next.task_id)}`,
        ];
      case 'verified':
        await parts.uploads.patch(log.dataset_id, { status: 'VERIFIED' });
        return planned(next);
      case 'reject':
        assertUploadRoot(parts.config, log.dataset.type);
        if (await rejectUpload(parts, log, next.reason)) return planned(next);
        return ['wait', null, 'it has gone on meanwhile'];
      case 'give up':
        await giveUp(parts, log, next.reason);
        return planned(next);
      case 'land': {
        const count = next.retry ? 'failed_retried' : 'verified_triggered';
        const landing = await land(parts, log, next.retry);
        if (landing.outcome === 'failed')
          return ['PROCESSING_FAILED', next.retry ? count : 'errors', landing.reason];
        return ['COMPLETE', count, landing.workflow_id ?? 'its workflow is linked already'];
      }
    }
  }
}

function planned(next: Next): Done {
  switch (next.do) {
    case 'wait':
      return ['wait', null, next.why];
    case 'verify':
      return ['verify', 'verification_spawned', next.task_id ?? 'under a new task id'];
    case 'verified':
      return ['VERIFIED', 'verified_triggered', 'its verification has succeeded'];
    case 'reject':
      return ['VERIFICATION_FAILED', 'verification_failed', next.reason];
    case 'land':
      return ['COMPLETE', next.retry ? 'failed_retried' : 'verified_triggered', 'its workflow starts'];
    case 'give up':
      return ['PERMANENTLY_FAILED', 'permanently_failed', next.reason];
  }
}
