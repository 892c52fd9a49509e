import type { PauseAnswer, RunningAttempt } from '../records/contract.ts';
import type { Ground } from './queue-reach.ts';
import { takeOut } from './reconcile.ts';

export interface StopOptions {
  actor: string;
  /** What its task is given between SIGTERM and SIGKILL; default config.task.kill_grace_seconds. */
  grace_seconds?: number;
  /** Kept with the attempt and in the history. */
  reason?: string;
  /** Only if the step that is pending goes by this task id: what ended meanwhile is left alone. */
  task_id?: string;
}

export interface StopAnswer extends Omit<PauseAnswer, 'running'> {
  /**
   * What became of the process: `stopped` (its worker says that its process group is gone), `silent` (the worker
   * did not answer; it may publish nothing any more, and stops at its next write), or null when none ran.
   */
  process: 'stopped' | 'silent' | null;
}

export async function stop(
  ground: Ground,
  id: string,
  { grace_seconds, ...options }: StopOptions & { take_out: boolean },
): Promise<StopAnswer> {
  const { running, ...answer } = await ground.store.records.pause(id, options);
  const { take_out, actor, reason } = options;
  const why = `${take_out ? 'revoked' : 'paused'}${reason === undefined ? '' : ` by ${actor}: ${reason}`}`;
  const process = await stopProcess(ground, running, why, grace_seconds);
  const workflow = take_out ? await ground.store.records.workflow(id) : null;
  // A job that its worker still holds is taken out by that worker when it ends.
  if (workflow !== null) await takeOut(workflow, ground.store.records, (await ground.side()).chains);
  return { ...answer, process };
}

export async function stopProcess(
  { config, side, log }: Ground,
  running: RunningAttempt | null,
  reason: string,
  grace_seconds = config.task.kill_grace_seconds,
): Promise<'stopped' | 'silent' | null> {
  if (running === null) return null;
  const { task_id, number, worker } = running;
  const { control } = await side();
  const answer = await control.cancel({ task_id, number, worker, reason, grace_seconds }, grace_seconds + 5);
  if (answer === 'silent')
    log.warn(
      { task_id, worker },
      'the worker did not confirm that the task was stopped; it may publish nothing',
    );
  return answer;
}
