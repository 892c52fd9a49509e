/** The verification of an upload as the engine runs it: a workflow of one step, whose id is the task id in the upload's log. */
import type { Config } from '../../config/index.ts';
import { limitsOf } from '../../workers/fleet/isolation/task-limits.ts';
import { retryOf } from '../../workers/fleet/job/retry-policy.ts';
import type { Records, TaskFailure, TaskRun } from '../../workers/records/contract.ts';
import { task } from '../../workers/tasks/verify_upload_integrity.ts';
import type { UploadLog } from '../../workers/uploads/contract.ts';
import { type Patience, type TaskSeen, verificationTaskOf } from '../../workers/uploads/next.ts';
import type { AdHocWorkflow } from '../../workers/workflows/definition.ts';
import { runnablePosition } from '../../workers/workflows/status.ts';

const TASK = 'verify_upload_integrity';
/** To get a slot, for each of the tries. */
const QUEUE_SECONDS = 3600;

/**
 * The task id is the workflow's id too: it stands in the upload's log before anything is recorded here, and recording it
 * a second time records nothing.
 */
export const verificationWorkflow = (task_id: string): AdHocWorkflow => ({
  name: 'verify_upload',
  description: 'Compare an upload with what the browser sent.',
  steps: [{ name: TASK, task: TASK, task_id }],
});

/** Null: there is none, or these records do not know it. */
export async function verificationOf(records: Records, log: UploadLog): Promise<TaskSeen | null> {
  const id = verificationTaskOf(log);
  const found = id === null ? null : await records.workflowWithRuns(id);
  if (found === null) return null;
  const taken_out = found.workflow.revoked_at !== null;
  const run = found.last_runs[0] ?? null;
  // A person has resumed it: what failed is not what it comes to.
  const again = !taken_out && run?.status !== 'SUCCESS' && runnablePosition(found) !== null;
  const stopped = run?.status === 'FAILURE' || run?.status === 'REVOKED';
  if (run === null || (again && stopped)) return { status: 'PENDING', taken_out, failure: null };
  return { status: run.status, taken_out, failure: run.status === 'FAILURE' ? failureOf(run) : null };
}

function failureOf({ result }: TaskRun): string {
  const { code, exc_message } = result as Partial<TaskFailure>;
  return `${code ?? 'unknown'}: ${(exc_message ?? []).join(' ')}`;
}

/**
 * The reference gives up after four hours, and its task may run for a day: here what is at work ends by the limits of its
 * task, in all its tries, and only what nobody works on is given up after `uploads.verification_timeout_hours`.
 */
export function patienceOf(config: Config, max_retries: number): Patience {
  const { time_limit_seconds } = limitsOf(config, TASK, task.limits ?? {});
  const { max, delay_seconds } = retryOf(config, TASK, task.retry ?? {});
  const at_work_seconds = (max + 1) * (time_limit_seconds + QUEUE_SECONDS) + max * delay_seconds;
  return {
    timeout_ms: config.uploads.verification_timeout_hours * 3_600_000,
    at_work_ms: at_work_seconds * 1000,
    max_retries,
  };
}
