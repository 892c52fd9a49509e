import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import type { WorkflowDocument, WorkflowStep } from '../records/contract.ts';
import { newTaskId } from '../records/task-id.ts';

/** A workflow that stands in no configuration: one made for a single run. */
export interface AdHocWorkflow {
  name: string;
  /** Default config.app_id. One gateway may be asked for workflows of several applications. */
  app_id?: string | undefined;
  description?: string | null | undefined;
  steps: readonly StepDefinition[];
}

export interface StepDefinition {
  readonly name: string;
  readonly task: string;
  readonly queue?: string | undefined;
  readonly kwargs?: Readonly<Record<string, unknown>> | undefined;
  readonly priority?: number | undefined;
  readonly needs?: readonly string[] | undefined;
  /** Of its first run, where somebody has to know it before the workflow is recorded. Default: a new one. */
  readonly task_id?: string | undefined;
}

export interface WorkflowStart {
  dataset_id: number | null;
  /** Positional arguments of the first step; default `[dataset_id]`. */
  args?: readonly unknown[];
  /** Kept for every step and every resume. */
  start_kwargs?: Readonly<Record<string, unknown>>;
  /** Who asks: a user, `watch`, `schedule`, … */
  initiator: string;
  id?: string;
}

/**
 * The name of a queue as configured, for this installation: `{app_id}` is config.app_id, `{host}` this machine. So
 * `{app_id}.q.{host}`, named by a step, is the queue of whoever starts the workflow: of the watcher, for what it registers.
 */
export const queueName = (config: Config, name: string): string =>
  name.replaceAll('{app_id}', config.app_id).replaceAll('{host}', hostname());

/** Whether a queue can have this name: Redis keys are made of it, with colons between their parts. */
export const isQueueName = (name: string): boolean => /^[^\s:]+$/.test(name);

/** Where steps without a queue of their own run. */
export const defaultQueue = (config: Config): string => `${config.app_id}.q`;

/** All queues that this configuration names: of steps, and of workers. */
export function configuredQueues(config: Config): string[] {
  const ofSteps = Object.values(config.workflow_registry).flatMap(({ steps }) =>
    steps.flatMap(({ queue }) => queue ?? []),
  );
  const ofWorkers = Object.values(config.workers).flatMap(({ queues }) =>
    queues.map((entry) => (typeof entry === 'string' ? entry : entry.name)),
  );
  const names = [...ofSteps, ...ofWorkers].map((name) => queueName(config, name));
  return [...new Set([defaultQueue(config), ...names])];
}

/**
 * A complete, unstarted workflow document. Pure: nothing is stored or queued.
 *
 * @throws E_WORKFLOW_INVALID naming everything that is wrong with it
 */
export function buildWorkflow(
  config: Config,
  workflow: string | AdHocWorkflow,
  start: WorkflowStart,
): WorkflowDocument {
  const definition = typeof workflow === 'string' ? registered(config, workflow) : workflow;
  const problems = problemsOf(definition, config);
  if (problems.length > 0) {
    throw new LongshoreError(
      'E_WORKFLOW_INVALID',
      `workflow "${definition.name}" cannot be started: ${problems.join('; ')}`,
      { fields: { workflow: definition.name, problems } },
    );
  }
  return {
    id: start.id ?? randomUUID(),
    name: definition.name,
    app_id: definition.app_id ?? config.app_id,
    description: definition.description ?? null,
    dataset_id: start.dataset_id,
    args: [...(start.args ?? [start.dataset_id])],
    start_kwargs: { ...start.start_kwargs },
    steps: definition.steps.map((step, index) => buildStep(step, index, config)),
    _status: 'PENDING',
    resume_lock: null,
    revoked_at: null,
    initiator: start.initiator,
    created_at: new Date().toISOString(),
    updated_at: null,
  };
}

function registered(config: Config, name: string): AdHocWorkflow {
  const found = Object.hasOwn(config.workflow_registry, name) ? config.workflow_registry[name] : undefined;
  if (found !== undefined) return { ...found, name };
  throw new LongshoreError(
    'E_WORKFLOW_INVALID',
    `there is no workflow "${name}"; config.workflow_registry has ${Object.keys(config.workflow_registry).join(', ')}`,
    { fields: { workflow: name } },
  );
}

function buildStep(step: StepDefinition, index: number, config: Config): WorkflowStep {
  return {
    name: step.name,
    task: step.task,
    queue: step.queue === undefined ? defaultQueue(config) : queueName(config, step.queue),
    kwargs: { ...step.kwargs },
    // Later steps run before the early steps of other workflows, so that datasets that were begun are finished.
    priority: clampPriority(step.priority ?? index + 1),
    ...(step.needs === undefined || step.needs.length === 0 ? {} : { needs: [...step.needs] }),
    task_runs: [],
    next_task_id: step.task_id ?? newTaskId(),
  };
}

const clampPriority = (priority: number): number => Math.min(9, Math.max(0, Math.trunc(priority)));

function problemsOf(definition: AdHocWorkflow, { app_id, resources }: Config): string[] {
  const problems: string[] = [];
  if (blank(definition.app_id ?? app_id)) problems.push('app_id is empty');
  if (blank(definition.name)) problems.push('the name is empty');
  if (definition.steps.length === 0) problems.push('it has no steps');
  for (const [index, step] of definition.steps.entries()) {
    if (blank(step.name)) problems.push(`step ${index + 1} has no name`);
    if (blank(step.task)) problems.push(`step ${index + 1} names no task`);
    for (const need of step.needs ?? [])
      if (!Object.hasOwn(resources, need))
        problems.push(`step ${index + 1} needs "${need}", which config.resources does not name`);
    if (step.queue !== undefined && !isQueueName(step.queue))
      problems.push(
        `step ${index + 1} names queue "${step.queue}"; expected text without ":" and white space`,
      );
  }
  const names = definition.steps.map((step) => step.name);
  for (const name of new Set(names.filter((name, index) => names.indexOf(name) !== index)))
    problems.push(`step name "${name}" is used twice`);
  return problems;
}

const blank = (text: unknown): boolean => typeof text !== 'string' || text.trim() === '';
