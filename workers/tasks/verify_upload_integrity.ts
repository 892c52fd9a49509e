/** Compares what has arrived of an upload with what the browser sent, and says so in the upload's log. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { ownSecrets } from '../tools/environment.ts';
import type { Uploads } from '../uploads/contract.ts';
import { isOutage } from '../uploads/failure.ts';
import { openUploads } from '../uploads/rest.ts';
import { assertUploadRoot } from '../uploads/roots.ts';
import { defineTask, postpone, type Postponement, type TaskContext } from './contract.ts';

const SCRIPT = join(import.meta.dirname, '../../scripts/verify_upload_integrity.ts');
/** What the script ends with when the API is away, and when somebody verifies the upload by hand (scripts/cli/program.ts). */
const AWAY = 5;
const BUSY = 75;
const API_AWAY = 'the API is away';
const LOOK_AGAIN_MS = 60_000;
const AFTER_ANOTHER_MS = 10_000;
const TOLD_WITHIN_MS = 30_000;
const LOOK_MS = 200;

export const task = defineTask({
  description:
    'Verifies an upload: digests, else sizes, else that it is there; sets VERIFIED or VERIFICATION_FAILED.',
  limits: { time_limit_seconds: 86_400, soft_time_limit_seconds: 43_200 },
  retry: { max: 3, delay_seconds: 60 },
  run: async (ctx) => {
    const uploads = openUploads(ctx.config);
    try {
      const { dataset } = await uploads.log(ctx.dataset_id);
      assertUploadRoot(ctx.config, dataset.type);
      return await verify(ctx, uploads);
    } catch (error) {
      // An outage says nothing about the upload: it takes no retry, and fails none.
      if (isOutage(error)) return later(API_AWAY);
      if (isLongshoreError(error) && error.code === 'E_ORIGIN_MISSING') return later(error.message);
      throw error;
    } finally {
      uploads.close();
    }
  },
});

/**
 * The script is a process of its own, so that its lines reach the log that the facility shows for the upload: whoever
 * uploaded sees there why it was rejected.
 */
async function verify(
  ctx: TaskContext,
  uploads: Uploads,
): Promise<readonly [number, { status: string; dataset_id: number }] | Postponement> {
  const { dataset_id, run } = ctx;
  const max_retries = run.retries + run.retries_left;
  const args = [SCRIPT, dataset_id, run.task_id, run.retries, max_retries, '--for-task'].map(String);
  await ctx.lease.assert();
  try {
    const { process_id } = await ctx.tool(process.execPath, args, { env: ownSecrets() });
    await keepProcess(ctx, uploads, process_id);
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_SUBPROCESS') throw error;
    const { process_id, return_code } = error.fields;
    await keepProcess(ctx, uploads, typeof process_id === 'number' ? process_id : null);
    if (return_code === BUSY) return afterAnother(toldBy(error).message);
    if (return_code === AWAY) return later(API_AWAY);
    throw toldBy(error);
  }
  return [dataset_id, { status: 'success', dataset_id }];
}

const later = (why: string): Postponement =>
  postpone(new Date(Date.now() + LOOK_AGAIN_MS), `${why}; the upload is verified when it is back`);

/** It takes no retry: the step goes on with what that run has come to. */
const afterAnother = (who: string): Postponement => postpone(new Date(Date.now() + AFTER_ANOTHER_MS), who);

/** The facility shows the lines of this process, which it knows by another id than the records. */
async function keepProcess(ctx: TaskContext, uploads: Uploads, process_id: number | null): Promise<void> {
  if (process_id === null) return;
  try {
    const worker_process_id = await idAtTheApi(ctx, process_id);
    await uploads.patch(ctx.dataset_id, { metadata: { worker_process_id } });
  } catch (error) {
    ctx.log.warn({ err: error, process_id }, 'the process that verified the upload could not be recorded');
  }
}

/** Processes are told to the API in the background, so that no program waits for it. */
async function idAtTheApi(ctx: TaskContext, process_id: number): Promise<number> {
  const deadline = Date.now() + TOLD_WITHIN_MS * ctx.config.api.delay_scale;
  for (;;) {
    const id = await ctx.facilityProcess(process_id);
    if (id !== null) return id;
    if (Date.now() > deadline)
      throw new LongshoreError('E_API_UNAVAILABLE', `the API has not taken process ${process_id} yet`);
    await sleep(LOOK_MS, undefined, { signal: ctx.signal });
  }
}

/** What the script said last on its stderr is a hint; the reason stands before it. */
function toldBy(error: LongshoreError): LongshoreError {
  const lines = Array.isArray(error.fields.stderr) ? error.fields.stderr.map(String) : [];
  const reason = lines.findLast((line) => /^E_[A-Z_]+: /.test(line));
  if (reason === undefined) return error;
  return new LongshoreError('E_SUBPROCESS', reason.trim(), { fields: error.fields, cause: error });
}
