/** Ends workers from elsewhere, with what they run brought to its end, or revoked. */
import { setTimeout as sleep } from 'node:timers/promises';
import { coerceError } from '../../workers/errors.ts';
import type { Reply } from '../../workers/queue/control.ts';
import type { RunningJob, SeenWorker } from '../../workers/queue/registry.ts';
import { alone } from '../cli/alone.ts';
import type { FleetSession } from '../cli/fleet-session.ts';

export interface ShutdownOptions {
  readonly immediate: boolean;
  readonly actor: string;
  readonly wait_seconds: number;
  /** How long to wait until the processes are gone; 0: not at all. */
  readonly gone_seconds: number;
}

export interface ShutdownRow {
  worker: string;
  /** `leaving`: it ends with the last job that runs. */
  outcome: 'leaving' | 'gone' | 'silent' | 'failed';
  /** Jobs that it still ran when it was told. */
  running: number;
  /** Ids of workflows whose step was revoked. */
  revoked: string[];
  note: string;
}

/**
 * Graceful: takes no more jobs and ends with the last one that runs. Immediate: what runs is revoked (REVOKED, for a
 * person to resume), so that no other worker takes it up, and the process ends.
 *
 * @throws E_BUSY when somebody tells one of them so already
 */
export async function shutDown(
  session: FleetSession,
  workers: readonly SeenWorker[],
  options: ShutdownOptions,
): Promise<ShutdownRow[]> {
  const overlap = { script: 'shutdown_worker', subjects: workers.map(({ name }) => name) };
  const rows = await alone(session, overlap, async () => {
    const told: ShutdownRow[] = [];
    for (const { name } of workers) told.push(await shutDownOne(session, name, options));
    return told;
  });
  // Waiting holds nobody up: whoever will not wait for the jobs may end these workers at once.
  await waitUntilGone(session, rows, options.gone_seconds);
  return rows;
}

async function shutDownOne(
  session: FleetSession,
  worker: string,
  { immediate, actor, wait_seconds }: ShutdownOptions,
): Promise<ShutdownRow> {
  const row: ShutdownRow = { worker, outcome: 'leaving', running: 0, revoked: [], note: '' };
  const order = async (what: string, args: Record<string, unknown> = {}): Promise<Reply | undefined> => {
    const asked = { to: [worker], wait_seconds };
    return (await session.side.control.ask(what, { ...args, actor }, asked)).replies[0];
  };
  if (immediate) {
    // Else it would take the next job while the first is being revoked.
    await order('drain');
    const running = ((await order('active'))?.result ?? []) as RunningJob[];
    for (const job of running) {
      const problem = await revoke(session, job, actor);
      if (problem === null) row.revoked.push(job.workflow_id);
      else row.note = problem;
    }
  }
  const reply = await order('shutdown', { immediate, restart: false });
  if (reply === undefined) return { ...row, outcome: 'silent', note: `no answer within ${wait_seconds} s` };
  if (reply.outcome !== 'done')
    return { ...row, outcome: 'failed', note: reply.error?.message ?? 'it does not know the order' };
  return { ...row, running: (reply.result as { running: number }).running };
}

/** Null: it is revoked. Only the step that this worker runs: one that has ended meanwhile is left alone. */
async function revoke(
  { engine, config }: FleetSession,
  { workflow_id, task_id }: RunningJob,
  actor: string,
): Promise<string | null> {
  try {
    const { paused } = await engine.pause(workflow_id, {
      actor,
      task_id,
      reason: 'its worker was shut down at once',
      grace_seconds: Math.min(2, config.task.kill_grace_seconds),
    });
    return paused ? null : `workflow ${workflow_id} had gone on meanwhile`;
  } catch (error) {
    return coerceError(error).message;
  }
}

async function waitUntilGone(
  { side }: FleetSession,
  rows: readonly ShutdownRow[],
  seconds: number,
): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const listed = new Set((await side.registry.list()).map(({ name }) => name));
    for (const row of rows) if (row.outcome === 'leaving' && !listed.has(row.worker)) row.outcome = 'gone';
    if (rows.every(({ outcome }) => outcome !== 'leaving') || performance.now() > deadline) return;
    await sleep(200);
  }
}
