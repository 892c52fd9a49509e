import type { Config } from '../../../config/index.ts';
import { type RetryPolicy, type SomeRetryPolicy, someRetryPolicy } from '../../../config/task-limits.ts';
import { LongshoreError } from '../../errors.ts';
import type { Task } from '../../tasks/contract.ts';

/** The site's word for this task, else the task's own, else what holds for all. */
export function retryOf(config: Config, task: string, declared: SomeRetryPolicy): RetryPolicy {
  const { max, delay_seconds, tasks } = config.workflow.retry;
  return { max, delay_seconds, ...declared, ...tasks[task] };
}

/** @throws E_TASK_UNKNOWN naming what is wrong with the declaration */
export function declaredRetry(name: string, { retry = {} }: Task): SomeRetryPolicy {
  const checked = someRetryPolicy.safeParse(retry);
  if (checked.success) return checked.data;
  const problems = checked.error.issues.map(({ path, message }) => `retry.${path.join('.')}: ${message}`);
  throw new LongshoreError(
    'E_TASK_UNKNOWN',
    `task "${name}" declares retries that cannot be: ${problems.join('; ')}`,
    {
      fields: { task: name, problems },
      hint: 'Correct them in its file; docs/tasks.md lists what there is.',
    },
  );
}
