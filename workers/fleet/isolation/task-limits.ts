import type { Config } from '../../../config/index.ts';
import { type SomeTaskLimits, someTaskLimits, type TaskLimits } from '../../../config/task-limits.ts';
import { LongshoreError } from '../../errors.ts';
import type { Task } from '../../tasks/contract.ts';
import { whereIs } from '../../tools/where-is.ts';
import type { ChildEnding, Launch } from './child.ts';

/** The site's word for this task, else the task's own, else what holds for all. */
export function limitsOf(config: Config, task: string, declared: SomeTaskLimits): TaskLimits {
  const { kill_grace_seconds: _, limits, ...all } = config.task;
  return { ...all, ...declared, ...limits[task] };
}

/** @throws E_TASK_UNKNOWN naming what is wrong with the declaration */
export function declaredLimits(name: string, { limits = {} }: Task): SomeTaskLimits {
  const checked = someTaskLimits.safeParse(limits);
  if (checked.success) return checked.data;
  const problems = checked.error.issues.map(({ path, message }) => `limits.${path.join('.')}: ${message}`);
  throw new LongshoreError(
    'E_TASK_UNKNOWN',
    `task "${name}" declares limits that cannot be: ${problems.join('; ')}`,
    {
      fields: { task: name, problems },
      hint: 'Correct them in its file; docs/tasks.md lists what there is.',
    },
  );
}

/** The part of the memory that JavaScript values may fill; buffers, threads, code and programs need the rest. */
const HEAP_SHARE = 0.75;

/**
 * `nice` and `ionice` replace themselves by the program, which keeps its number. Set from outside, they would hold for
 * one thread only (Linux keeps both for each thread), and Node has started several by then.
 */
export function launchOf(limits: TaskLimits, node: Launch): Launch {
  const heap =
    limits.memory_bytes === null ? null : Math.floor((limits.memory_bytes * HEAP_SHARE) / 1024 ** 2);
  const words = [
    ...(limits.nice === 0 ? [] : ['nice', '-n', String(limits.nice)]),
    ...ioniceWords(limits.ionice),
    node.command,
    ...(heap === null ? [] : [`--max-old-space-size=${heap}`]),
    ...node.args,
  ];
  const [command = node.command, ...args] = words;
  return { command, args };
}

/** util-linux is everywhere but in the smallest containers, where there is nobody to give way to. */
function ioniceWords(level: TaskLimits['ionice']): string[] {
  if (level === null || whereIs('ionice') === null) return [];
  return level === 'idle' ? ['ionice', '-c', '3'] : ['ionice', '-c', '2', '-n', String(level)];
}

export const softTimeout = (task: string, { soft_time_limit_seconds }: TaskLimits): LongshoreError =>
  new LongshoreError(
    'E_TIMEOUT',
    `task "${task}" ran longer than ${soft_time_limit_seconds} s (soft_time_limit_seconds)`,
    { fields: { limit: 'soft', seconds: soft_time_limit_seconds } },
  );

export const hardTimeout = (task: string, { time_limit_seconds }: TaskLimits): LongshoreError =>
  new LongshoreError(
    'E_TIMEOUT',
    `task "${task}" ran longer than ${time_limit_seconds} s (time_limit_seconds)`,
    {
      fields: { limit: 'hard', seconds: time_limit_seconds },
    },
  );

const mib = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;

export const tooMuchMemory = (task: string, used: number, limit: number): LongshoreError =>
  new LongshoreError(
    'E_MEMORY_LIMIT',
    `task "${task}" and what it started held ${mib(used)} of memory; memory_bytes allows ${mib(limit)}`,
    { fields: { used, limit } },
  );

/** Node ends itself by SIGABRT when its heap is full, which fast code reaches between two looks at its memory. */
export function orFullHeap(ending: ChildEnding, task: string, { memory_bytes }: TaskLimits): ChildEnding {
  if (ending.kind !== 'lost' || ending.signal !== 'SIGABRT' || memory_bytes === null) return ending;
  const error = new LongshoreError(
    'E_MEMORY_LIMIT',
    `task "${task}" filled its heap: ${mib(memory_bytes * HEAP_SHARE)} of the ${mib(memory_bytes)} of memory_bytes`,
    { fields: { limit: memory_bytes } },
  );
  return { kind: 'stopped', error };
}
