import type { ErrorReport } from '../../errors.ts';
import type { Config } from '../../../config/index.ts';
import type { SomeRetryPolicy, SomeTaskLimits } from '../../../config/task-limits.ts';
import type { AttemptKey, CodeVersion, TaskRun } from '../../records/contract.ts';

/** What one attempt is about. */
export interface Work {
  readonly key: AttemptKey;
  readonly run: TaskRun;
  readonly dataset_id: number;
  /** As its retry policy says. */
  readonly max_retries: number;
  /** An archive that is away postpones it. */
  readonly waits_for_archive: boolean;
}

/** What the process of a task is given to run. */
export interface Assignment {
  readonly work: Work;
  /**
   * The one of the worker, checked. A task that read it anew would meet edits that are half done, and would spend half
   * of its start (70 ms) on it. Null: that of the attempt before, in a process that takes several.
   */
  readonly config: Config | null;
  /** It may take another attempt after this one, if it is as it was before. */
  readonly keep: boolean;
}

/** What a worker and the process of one of its tasks say to each other. */
export type ToTask =
  | ({ kind: 'start' } & Assignment)
  | { kind: 'lease'; question: number; held: boolean; reason: string }
  | { kind: 'permit'; question: number; granted: boolean; error: ErrorReport | null }
  /** Its soft time limit is over; the job stays its own. */
  | { kind: 'warn'; error: ErrorReport }
  | { kind: 'stop'; error: ErrorReport };

/** What the process of a task says when it has loaded its code, well or not (then its report says why). */
export interface Loaded {
  /** Null when there is no such task. */
  readonly code: CodeVersion | null;
  /** As the task declares them. */
  readonly limits: SomeTaskLimits;
  readonly retry: SomeRetryPolicy;
}

export type FromTask =
  /** The engine's part of the code is loaded, the task's not yet. */
  | { kind: 'here' }
  | ({ kind: 'loaded' } & Loaded)
  /** May I publish? */
  | { kind: 'lease'; question: number }
  /** May I use one of so many? Held until this attempt has ended. */
  | { kind: 'permit'; question: number; resource: string; limit: number }
  /** A write was refused: another attempt or a person has taken this step over. */
  | { kind: 'overtaken' }
  /** Its last word of this attempt. `stays`: it is as it was before, and waits for another one. */
  | { kind: 'over'; report: TaskReport; stays: boolean };

/** How the body ended. */
export type TaskReport =
  | { kind: 'result'; result: unknown[] }
  | { kind: 'postponed'; until: string; reason: string; progress: Record<string, unknown> | null }
  | { kind: 'failed'; error: ErrorReport };
