/** What the log of a worker says of each attempt. */
import type { Logger } from '../../log.ts';
import type { ClaimVerdict, Finish } from '../../records/contract.ts';

type Granted = Extract<ClaimVerdict, { verdict: 'run' }>;

export const aboutAttempt = ({ key, run, workflow }: Granted) => ({
  workflow_id: workflow.id,
  workflow: workflow.name,
  dataset_id: workflow.dataset_id,
  step: run.step,
  task: run.name,
  ...key,
});

/** One line about each end of an attempt, for people who read the log. */
export function tellEnd(log: Logger, about: ReturnType<typeof aboutAttempt>, finish: Finish | null): void {
  if (finish === null) log.info(about, 'step stopped by a person');
  else if (finish.outcome === 'success') log.info(about, 'step succeeded');
  else if (finish.outcome === 'postponed' && finish.error === undefined)
    log.info({ ...about, reason: finish.reason }, 'step postponed');
  else if (finish.outcome === 'postponed') {
    const { error, reason, next_attempt_at } = finish;
    log.warn({ ...about, code: error?.code, reason, hint: error?.hint, next_attempt_at }, 'step postponed');
  } else if (finish.outcome === 'lost')
    log.warn({ ...about, reason: finish.reason }, 'step lost its process');
  else {
    const { code, message, hint } = finish.error;
    const level = finish.outcome === 'retry' ? 'warn' : 'error';
    const again = finish.outcome === 'retry' ? { next_attempt_at: finish.next_attempt_at } : {};
    log[level]({ ...about, code, reason: message, hint, ...again }, `step failed (${finish.outcome})`);
  }
}
