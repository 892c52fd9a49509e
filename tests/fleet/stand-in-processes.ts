import type { Questions } from '../../workers/fleet/isolation/child.ts';
import type { TaskProcesses } from '../../workers/fleet/isolation/task-processes.ts';
import type { LongshoreError } from '../../workers/errors.ts';

/** Processes of tasks that do nothing until they are stopped. */
export function standInProcesses(onStart: (questions: Questions) => void = () => undefined) {
  const stopped = Promise.withResolvers<LongshoreError>();
  const processes: TaskProcesses = {
    waiting: () => null,
    start: (_, questions) => {
      onStart(questions);
      return {
        pid: 0,
        loaded: Promise.resolve({ code: null, limits: {}, retry: {} }),
        ended: stopped.promise.then((error) => ({ kind: 'stopped', error }) as const),
        start: () => undefined,
        warn: () => undefined,
        stop: async (error) => stopped.resolve(error),
      };
    },
  };
  return { processes, stopped: stopped.promise };
}
