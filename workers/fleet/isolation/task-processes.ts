import { join } from 'node:path';
import type { Config } from '../../../config/index.ts';
import type { SomeTaskLimits, TaskLimits } from '../../../config/task-limits.ts';
import { LongshoreError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { CodeVersion } from '../../records/contract.ts';
import {
  type Attempting,
  type Launch,
  type Questions,
  startChild,
  TASK_PROGRAM,
  type TaskChild,
  type WarmProcess,
} from './child.ts';
import { CodeReader } from '../code/code-graph.ts';
import { createCompiledTasks } from '../code/compiled-tasks.ts';
import { createMemoryWatch } from './memory-watch.ts';
import { killBeforeUs } from './oom-order.ts';
import { hardTimeout, launchOf, limitsOf, orFullHeap, softTimeout, tooMuchMemory } from './task-limits.ts';
import { createWarmProcesses } from './warm-processes.ts';

/** Where the processes of a worker's tasks come from. */
export interface TaskProcesses {
  /** One that waits for its next attempt and has the code that is on disk now: to be started, or put back. */
  waiting(task: string): WaitingProcess | null;
  /** A new one for this attempt; its limits hold from now on. It loads at once and begins when it is told to. */
  start(of: { task: string; task_id: string }, questions: Questions): TaskChild;
}

export interface WaitingProcess {
  readonly pid: number;
  readonly code: CodeVersion | null;
  start(questions: Questions): TaskChild;
  putBack(): void;
}

interface Waiting {
  readonly task: string;
  readonly launch: Launch;
  readonly limits: TaskLimits;
  readonly process: WarmProcess;
}

/** The longest delay of a timer in Node; longer ones would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Loading is no part of the work: on a machine that is busy it may take longer than a task of seconds is given. */
const LOADS_WITHIN_SECONDS = 60;

const whileLoading = (limits: TaskLimits): TaskLimits => ({
  ...limits,
  soft_time_limit_seconds: null,
  time_limit_seconds: Math.max(limits.time_limit_seconds, LOADS_WITHIN_SECONDS),
});

/** @param worker its name, which its tasks' processes carry */
export function createTaskProcesses(config: Config, worker: string, log: Logger): TaskProcesses {
  // The one of this process, where it has been given one: what it has compiled its tasks need not compile again.
  const cache = process.env.NODE_COMPILE_CACHE ?? join(config.state_dir, 'cache', 'node');
  /** As each task declared them when it was last loaded. */
  const declared = new Map<string, SomeTaskLimits>();
  const memory = createMemoryWatch();
  const reader = new CodeReader();
  const compiled = createCompiledTasks(
    config.reload.compile_tasks ? join(cache, 'tasks') : null,
    reader,
    log,
  );

  /** Time and memory, for one child; answers how to end the watch. */
  const enforce = (child: Attempting, task: string, limits: TaskLimits): (() => void) => {
    const { time_limit_seconds: hard, soft_time_limit_seconds: soft, memory_bytes } = limits;
    const after = (seconds: number, what: () => void): NodeJS.Timeout =>
      setTimeout(what, Math.min(seconds * 1000, LONGEST_TIMER_MS));
    const timers = [
      after(hard, () => void child.stop(hardTimeout(task, limits), config.task.kill_grace_seconds)),
      ...(soft === null || soft >= hard ? [] : [after(soft, () => child.warn(softTimeout(task, limits)))]),
    ];
    const unwatch =
      memory_bytes === null || child.pid === 0
        ? () => undefined
        : memory.add(child.pid, memory_bytes, (used) => {
            void child.stop(tooMuchMemory(task, used, memory_bytes), 0);
          });
    return () => {
      for (const timer of timers) clearTimeout(timer);
      unwatch();
    };
  };

  const warm = createWarmProcesses(reader);
  const keep = async (task: string, launch: Launch, child: Attempting): Promise<void> => {
    const stays = await child.stays;
    if (stays !== null) warm.put(task, launch, stays);
  };

  /** Another attempt in a process that has run some. */
  const serve = ({ task, launch, limits, process }: Waiting, questions: Questions): TaskChild => {
    const child = process.serve(questions);
    const release = enforce(child, task, limits);
    const ended = child.ended.then(async (ending) => {
      release();
      await keep(task, launch, child);
      return orFullHeap(ending, task, limits);
    });
    return {
      pid: child.pid,
      loaded: child.loaded,
      ended,
      start: (work) =>
        child.start({ work, config: null, keep: process.served + 1 < limits.attempts_per_process }),
      warn: (error) => child.warn(error),
      stop: (error, grace_seconds) => child.stop(error, grace_seconds),
    };
  };

  return {
    waiting: (task) => {
      const limits = limitsOf(config, task, declared.get(task) ?? {});
      if (limits.attempts_per_process === 1) return null;
      const launch = launchOf(limits, TASK_PROGRAM);
      const process = warm.take(task, launch);
      if (process === null) return null;
      return {
        pid: process.pid,
        code: process.loaded.code,
        start: (questions) => serve({ task, launch, limits, process }, questions),
        putBack: () => warm.put(task, launch, process),
      };
    },

    start: ({ task, task_id }, questions) => {
      let limits = limitsOf(config, task, declared.get(task) ?? {});
      let program = compiled.programOf(task);
      let launch = launchOf(limits, program.launch);
      const remain = (pgid: number, pids: readonly number[]): void =>
        log.error({ task, pgid, pids }, 'processes of a task do not die; they hang in a call to the system');
      const begin = (): Attempting => {
        const begun = startChild({ task, task_id, launch, cache, worker, remain }, questions);
        killBeforeUs(begun.pid);
        return begun;
      };
      let child = begin();
      let stopping: LongshoreError | null = null;
      let release = enforce(child, task, whileLoading(limits));
      const settle = async () => {
        let loaded = await child.loaded;
        if (loaded === null && program.compiled && stopping === null) {
          // Damaged, or gone: what its source has to say to this attempt is what counts.
          compiled.distrust(program);
          program = { ...program, launch: TASK_PROGRAM, compiled: false };
          launch = launchOf(limits, program.launch);
          release();
          child = begin();
          release = enforce(child, task, whileLoading(limits));
          loaded = await child.loaded;
        }
        if (loaded === null || stopping !== null) return loaded;
        compiled.loaded(task, program);
        declared.set(task, loaded.limits);
        limits = limitsOf(config, task, loaded.limits);
        const wanted = launchOf(limits, program.launch);
        release();
        if (wanted.command !== launch.command || wanted.args.join('\0') !== launch.args.join('\0')) {
          // The first time that this worker meets this declaration: memory and niceness are set at a start only.
          launch = wanted;
          await child.stop(
            new LongshoreError('E_WORKER_STOPPED', 'it is started again within its limits'),
            0,
          );
          if (stopping !== null) return loaded;
          child = begin();
        }
        release = enforce(child, task, limits);
        return child.loaded;
      };
      const loaded = settle();
      const ended = loaded.then(async () => {
        const ending = await child.ended;
        release();
        await keep(task, launchOf(limits, TASK_PROGRAM), child);
        // Stopped while it was started again: for the reason that was given, not for that one.
        if (ending.kind === 'stopped' && stopping !== null) return { ...ending, error: stopping };
        return orFullHeap(ending, task, limits);
      });
      return {
        get pid() {
          return child.pid;
        },
        loaded,
        ended,
        start: (work, config_of_worker) =>
          child.start({ work, config: config_of_worker, keep: limits.attempts_per_process > 1 }),
        warn: (error) => child.warn(error),
        stop: async (error, grace_seconds) => {
          stopping ??= error;
          await child.stop(error, grace_seconds);
        },
      };
    },
  };
}
