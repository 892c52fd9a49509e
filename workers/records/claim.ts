/** How a worker comes to the right to run a step once, and what it says of its end. */
import type { ErrorReport } from '../errors.ts';
import type { TaskStatus, WorkflowDocument, TaskRun, Attempt, CodeVersion } from './types.ts';

export interface Claim {
  workflow_id: string;
  /** 0-based position in the workflow. */
  index: number;
  worker: string;
  host: string;
  /** The one that waits for this attempt already: the claim says of it what `running` would. */
  process?: AttemptProcess | undefined;
}

/** What runs an attempt. */
export interface AttemptProcess {
  pid: number;
  pgid: number;
  hostname: string;
  code?: CodeVersion | null;
}

/** The right to run one attempt. Every write about it names this. */
export interface AttemptKey {
  task_id: string;
  number: number;
}

/** What whoever runs a step needs to know of its workflow. */
export type WorkflowInHand = Pick<WorkflowDocument, 'id' | 'name' | 'app_id' | 'dataset_id'>;

export type ClaimVerdict =
  | {
      verdict: 'run';
      key: AttemptKey;
      run: TaskRun;
      workflow: WorkflowInHand;
      /** Left running by a lost worker. */
      orphan: Attempt | null;
    }
  /** The step has succeeded already (crash between record and queue): hand the stored result on. */
  | { verdict: 'done'; result: unknown[] }
  /** Paused, revoked or failed, or PENDING without known arguments: nothing may run under this step now. */
  | { verdict: 'stopped'; status: TaskStatus }
  /** Lost its process more than `max_losses` times; the run is FAILURE now. */
  | { verdict: 'poisoned'; losses: number; orphan: Attempt | null }
  /** The previous step has not succeeded; the queue ran ahead of the records. */
  | { verdict: 'early' }
  | { verdict: 'missing' };

export type Finish =
  | {
      outcome: 'success';
      result: unknown[];
      /** Workflows to record with it, in one unit, when this was the last step; an id that exists is left as it is. */
      then?: readonly WorkflowDocument[];
    }
  | { outcome: 'retry'; error: ErrorReport; next_attempt_at: string; reason: string }
  | { outcome: 'failure'; error: ErrorReport }
  /** `error`: what kept it from its work and is no fault of it. */
  | {
      outcome: 'postponed';
      reason: string;
      next_attempt_at: string;
      result?: unknown;
      error?: ErrorReport;
    }
  /** `blame`: how far the job itself is the cause, 0 to 1 (default 1). */
  | { outcome: 'lost'; reason: string; blame?: number };

/** The step that may run now that the one before it has succeeded. */
export interface NextStep {
  index: number;
  task: string;
  queue: string;
  priority: number;
}

/** What was recorded; `next` is null unless a step has succeeded that was not the last one. */
export interface Finished {
  next: NextStep | null;
}

export type RunningAttempt = AttemptKey & { worker: string; host: string; pgid: number | null };
