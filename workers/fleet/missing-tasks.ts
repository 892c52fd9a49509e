/** Tasks that workflows of the configuration name, and that no worker of it would find. */
import type { Config } from '../../config/index.ts';
import { isLongshoreError, LongshoreError } from '../errors.ts';
import { taskFile } from '../tasks/registry.ts';
import { defaultQueue, queueName } from '../workflows/definition.ts';
import { roleOf } from './routing.ts';

export interface MissingTask {
  /** `workflow_registry.survey.steps.1` */
  readonly key: string;
  readonly task: string;
  /** Null: none is like it. */
  readonly meant: string | null;
  /** With that one, and those that there are. */
  readonly message: string;
}

/**
 * As far as this checkout can know: a step whose queue no app of `config.workers` serves may be for hosts that have tasks of
 * their own. So the configuration itself is not refused for them.
 */
export function missingTasks(
  config: Config,
  workflows: readonly string[] = Object.keys(config.workflow_registry),
): MissingTask[] {
  const served = new Set(
    Object.keys(config.workers).flatMap((app) => roleOf(config, { app }).queues.map(({ queue }) => queue)),
  );
  return workflows.flatMap((workflow) =>
    (config.workflow_registry[workflow]?.steps ?? []).flatMap(({ task, queue }, at) => {
      const takenHere = served.has(queue === undefined ? defaultQueue(config) : queueName(config, queue));
      const unknown = takenHere ? whyUnknown(task) : null;
      return unknown === null ? [] : [{ key: `workflow_registry.${workflow}.steps.${at}`, task, ...unknown }];
    }),
  );
}

/**
 * For whoever is about to start it: else it would be told by the step that fails, after all that come before. Only of those
 * that are like another one: a worker may have been given LONGSHORE_TASKS_PATH, and this process not.
 *
 * @throws E_TASK_UNKNOWN
 */
export function refuseMistyped(config: Config, workflow: string): void {
  const mistyped = missingTasks(config, [workflow]).filter(({ meant }) => meant !== null);
  const [first] = mistyped;
  if (first === undefined) return;
  const problems = mistyped.map(({ key, message }) => `${key}: ${message}`);
  throw new LongshoreError('E_TASK_UNKNOWN', problems.join('; '), {
    fields: { workflow, task: first.task, problems },
    hint: 'Correct the name, or add the file (workers/tasks/, LONGSHORE_TASKS_PATH in .env).',
  });
}

function whyUnknown(task: string): Pick<MissingTask, 'meant' | 'message'> | null {
  try {
    taskFile(task);
    return null;
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_TASK_UNKNOWN') throw error;
    const { meant } = error.fields;
    return { meant: typeof meant === 'string' ? meant : null, message: error.message };
  }
}
