/**
 * The life of a run: of the one task id under which a step may run at present.
 *
 * | state    | in the records                                    | claim         | running, progress | success | retry | failure | postponed | lost   | pause   | resume | force   |
 * | -------- | ------------------------------------------------- | ------------- | ----------------- | ------- | ----- | ------- | --------- | ------ | ------- | ------ | ------- |
 * | absent   | no run under `next_task_id`                       | open          |                   |         |       |         |           |        | revoked |        | absent  |
 * | open     | STARTED, its last attempt is not closed           | open, failure | open              | success | retry | failure | parked    | parked | revoked |        | revoked |
 * | parked   | STARTED, its last attempt was postponed or lost   | open, failure |                   |         |       |         |           |        | revoked |        | revoked |
 * | retry    | RETRY                                             | open          |                   |         |       |         |           |        | revoked |        | revoked |
 * | success  | SUCCESS                                           |               |                   |         |       |         |           |        |         |        |         |
 * | failure  | FAILURE                                           |               |                   |         |       |         |           |        |         | absent | absent  |
 * | revoked  | REVOKED                                           |               |                   |         |       |         |           |        |         | absent | absent  |
 *
 * An empty cell is no move. A claim becomes `poison` (→ failure) when the run has lost too many processes; on a final
 * state it is answered `done` or `stopped`. After `force` on a run that has begun, the step gets a new task id as with
 * `resume`. Events of an attempt (running … lost) that find an empty cell come too late: they write nothing.
 */
import { LongshoreError } from '../errors.ts';
import type { TaskStatus } from './contract.ts';

export type RunState = 'absent' | 'open' | 'parked' | 'retry' | 'success' | 'failure' | 'revoked';

export type RunEvent =
  | 'claim'
  | 'poison'
  | 'progress'
  | 'success'
  | 'retry'
  | 'failure'
  | 'postponed'
  | 'lost'
  | 'pause'
  | 'resume'
  | 'force';

const MOVES: Readonly<Record<RunState, Readonly<Partial<Record<RunEvent, RunState>>>>> = {
  absent: { claim: 'open', pause: 'revoked', force: 'absent' },
  open: {
    claim: 'open',
    poison: 'failure',
    progress: 'open',
    success: 'success',
    retry: 'retry',
    failure: 'failure',
    postponed: 'parked',
    lost: 'parked',
    pause: 'revoked',
    force: 'revoked',
  },
  parked: { claim: 'open', poison: 'failure', pause: 'revoked', force: 'revoked' },
  retry: { claim: 'open', pause: 'revoked', force: 'revoked' },
  success: {},
  failure: { resume: 'absent', force: 'absent' },
  revoked: { resume: 'absent', force: 'absent' },
};

/** What the run's status reads in each state; an absent run reads as PENDING. */
export const STATUS_OF: Readonly<Record<RunState, TaskStatus>> = {
  absent: 'PENDING',
  open: 'STARTED',
  parked: 'STARTED',
  retry: 'RETRY',
  success: 'SUCCESS',
  failure: 'FAILURE',
  revoked: 'REVOKED',
};

export const accepts = (state: RunState, event: RunEvent): boolean => MOVES[state][event] !== undefined;

/** @throws E_WORKFLOW_STATE when the table has no such move */
export function move(state: RunState, event: RunEvent): RunState {
  const next = MOVES[state][event];
  if (next !== undefined) return next;
  throw new LongshoreError('E_WORKFLOW_STATE', `a run that is ${STATUS_OF[state]} cannot take "${event}"`, {
    fields: { state, event, expected: Object.keys(MOVES[state]) },
  });
}

/** Reads the state from what is stored. */
export function stateOf(run: { status: TaskStatus } | null, attemptIsOpen: boolean): RunState {
  if (run === null) return 'absent';
  switch (run.status) {
    case 'STARTED':
      return attemptIsOpen ? 'open' : 'parked';
    case 'RETRY':
      return 'retry';
    case 'SUCCESS':
      return 'success';
    case 'FAILURE':
      return 'failure';
    case 'REVOKED':
      return 'revoked';
    case 'PENDING':
      return 'absent';
    // Another status of Celery's (REJECTED, IGNORED, one of a site's own): begun, not ended, and run by nobody here.
    default:
      return 'parked';
  }
}
