/**
 * What people do to a workflow: pause, revoke, resume, prioritize. A pause is decided by the run of the pending step, all
 * else by the workflow; the entry in the audit trail is part of the decision.
 */
import { newTaskId } from '../task-id.ts';
import { LongshoreError } from '../../errors.ts';
import { change, type Decision } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { addTo } from '../../mongodb/outbox.ts';
import type { PauseAnswer, Records, ResumeAnswer, RunningAttempt } from '../contract.ts';
import { auditItem } from './audit.ts';
import { takeBack } from './deletion.ts';
import { nextTaskIdOf, type RunRecord, type StepDocument, type WorkflowRecord } from './documents.ts';
import { assertReadable } from './readable.ts';
import { revoked, revokeRun, runningIn } from './revoke.ts';
import {
  argsOf,
  lastBegunRunOf,
  lastRunOf,
  loadRuns,
  newRun,
  pendingPosition,
  type Runs,
  runsOf,
  stateOfRun,
} from './runs.ts';
import { readWorkflow, settle, withRuns, workflowsOf } from './settle.ts';
import { accepts, move } from '../transition.ts';

type Resume = Parameters<Records['resume']>[1];
type Pause = Parameters<Records['pause']>[1];

export function lifecycleRecords(mongo: Mongo): Pick<Records, 'pause' | 'resume' | 'prioritize'> {
  return {
    pause: (id, options) => pause(mongo, id, options),
    resume: (id, options) => resume(mongo, id, options),
    prioritize: (id, options) => prioritize(mongo, id, options),
  };
}

async function pause(mongo: Mongo, id: string, options: Pause): Promise<PauseAnswer> {
  for (;;) {
    const workflow = found(await readWorkflow(mongo, id), id);
    const runs = await loadRuns(mongo, [workflow]);
    const position = pendingPosition(workflow, runs);
    const step = workflow.steps[position];
    if (step === undefined) return { paused: false, running: null, index: -1 };
    const refused: PauseAnswer = { paused: false, running: null, index: position };
    const task_id = nextTaskIdOf(workflow, position);
    if (options.task_id !== undefined && task_id !== options.task_id) return refused;
    const state = await pauseRun(mongo, { workflow, runs, position, task_id }, options);
    if ((await settle(mongo, id)) === null) {
      await takeBack(mongo, task_id);
      return notFound(id);
    }
    if (state.paused) {
      const revoked_step = { task_id, task: step.task, name: step.name };
      return { paused: true, revoked_step, running: state.running, index: position };
    }
    // It has ended since it was read, well: the next step is the pending one.
    if (state.status === 'SUCCESS') continue;
    if (options.take_out) await takeOut(mongo, id, step.name, options, state.status);
    return refused;
  }
}

interface Pending {
  workflow: WorkflowRecord;
  runs: Runs;
  position: number;
  task_id: string;
}

type Paused =
  | { paused: true; running: RunningAttempt | null }
  | { paused: false; status: RunRecord['status'] };

function pauseRun(mongo: Mongo, pending: Pending, { actor, take_out, reason }: Pause): Promise<Paused> {
  const { workflow, runs, position, task_id } = pending;
  const step = workflow.steps[position] as StepDocument;
  const because = reason === undefined ? '' : `: ${reason}`;
  const how = {
    reason: `${take_out ? 'revoked' : 'paused'} by ${actor}${because}`,
    taken_out: take_out ? new Date() : null,
    items: (running: boolean) => [
      auditItem({
        actor,
        action: take_out ? 'workflow.revoke' : 'workflow.pause',
        subject: `workflow:${workflow._id}`,
        details: { step: step.name, task_id, running, ...(reason === undefined ? {} : { reason }) },
      }),
    ],
  };
  return change<RunRecord, Paused>(mongo, runsOf(mongo), task_id, (run) => {
    const state = stateOfRun(run);
    if (!accepts(state, 'pause')) return { answer: { paused: false, status: run?.status ?? 'PENDING' } };
    const args = argsOf(workflow, position, runs) ?? [];
    const base = run ?? newRun(workflow, position, { args, worker: '', state: 'absent' });
    return {
      answer: { paused: true, running: runningIn(task_id, base.attempt) },
      set: { ...(run === null ? base : {}), ...revoked(base, state, how) },
    };
  });
}

/** A step that has failed or is revoked already: the rest of its chain leaves the queue. */
async function takeOut(
  mongo: Mongo,
  id: string,
  step: string,
  { actor, reason }: Pause,
  status: string,
): Promise<void> {
  await change<WorkflowRecord, void>(mongo, workflowsOf(mongo), id, (workflow) => {
    if (workflow === null || workflow.revoked_at) return { answer: undefined };
    const subject = `workflow:${id}`;
    const details = { step, status, ...(reason === undefined ? {} : { reason }) };
    const entry = auditItem({ actor, action: 'workflow.revoke', subject, details });
    const now = new Date();
    return {
      answer: undefined,
      set: { revoked_at: now, updated_at: now, outbox: addTo(workflow.outbox, entry) },
    };
  });
  await settle(mongo, id);
}

async function resume(mongo: Mongo, id: string, options: Resume): Promise<ResumeAnswer> {
  const replaced = { task_id: '', running: null as RunningAttempt | null };
  const answer = await change<WorkflowRecord, ResumeAnswer>(
    mongo,
    workflowsOf(mongo),
    id,
    async (workflow) => {
      const live = found(workflow, id);
      const runs = await loadRuns(mongo, [live]);
      const position = pendingPosition(live, runs);
      const step = live.steps[position];
      if (step === undefined) return { answer: { resumed: false, running: null, index: -1 } };
      const refused: Decision<WorkflowRecord, ResumeAnswer> = {
        answer: { resumed: false, running: null, index: position },
      };
      if (isLocked(live, options.lock_seconds)) return refused;
      // What a person sees of the step: its last run, also when an earlier resume was never taken up.
      const state = stateOfRun(lastRunOf(live, position, runs) ?? null);
      const event = options.force ? 'force' : 'resume';
      if (!accepts(state, event)) return refused;
      const given = givenArgs(live, position, runs, options);
      replaced.task_id = nextTaskIdOf(live, position);
      if (move(state, event) === 'revoked')
        replaced.running ??= await revokeRun(mongo, replaced.task_id, {
          reason: `resumed by force by ${options.actor}`,
        });
      return {
        answer: {
          resumed: true,
          restarted_step: { name: step.name, task: step.task },
          running: replaced.running,
          index: position,
        },
        set: resumed(live, await loadRuns(mongo, [live]), position, { ...options, ...given }),
      };
    },
  );
  if (answer.resumed) {
    // A claim may have begun the old one meanwhile: one of the two has to see the other.
    const reason = `resumed by force by ${options.actor}`;
    const late = options.force ? await revokeRun(mongo, replaced.task_id, { reason }) : null;
    if (late !== null) answer.running = late;
    await settle(mongo, id);
  }
  return answer;
}

/** Those of the request where they count. @throws E_WORKFLOW_INVALID when nobody knows what to give to the step */
function givenArgs(
  workflow: WorkflowRecord,
  position: number,
  runs: Runs,
  { args }: Resume,
): { args: unknown[] | undefined } {
  if (args !== undefined && lastBegunRunOf(workflow, position, runs) === undefined) return { args };
  if (argsOf(workflow, position, runs) !== null) return { args: undefined };
  const { name = '' } = workflow.steps[position] ?? {};
  throw new LongshoreError(
    'E_WORKFLOW_INVALID',
    `step "${name}" has never begun, and what it was to be given is not recorded; no args are provided`,
    {
      fields: { workflow_id: workflow._id, step: name },
      hint: 'Resume it by force through the workflow server, with args: [dataset id], or start another.',
    },
  );
}

function resumed(
  workflow: WorkflowRecord,
  runs: Runs,
  position: number,
  { actor, force, args, app_id }: Omit<Resume, 'args'> & { args: unknown[] | undefined },
): Partial<WorkflowRecord> {
  const now = new Date();
  const next_task_id = newTaskId();
  const steps = withRuns(workflow, runs).map((step, index) =>
    index === position ? { ...step, next_task_id, ...(args === undefined ? {} : { args }) } : step,
  );
  const details = {
    step: steps[position]?.name,
    task_id: next_task_id,
    force,
    ...(args === undefined ? {} : { args }),
  };
  const entry = auditItem({ actor, action: 'workflow.resume', subject: `workflow:${workflow._id}`, details });
  return {
    ...(workflow.app_id || app_id === undefined ? {} : { app_id }),
    steps,
    resume_lock: now,
    revoked_at: null,
    updated_at: now,
    outbox: addTo(workflow.outbox, entry),
  };
}

async function prioritize(
  mongo: Mongo,
  id: string,
  { actor, priority }: Parameters<Records['prioritize']>[1],
): Promise<{ index: number }> {
  const index = await change<WorkflowRecord, number>(mongo, workflowsOf(mongo), id, async (workflow) => {
    const live = found(workflow, id);
    const position = pendingPosition(live, await loadRuns(mongo, [live]));
    const step = live.steps[position];
    if (step === undefined) return { answer: -1 };
    const steps = live.steps.map((one, at) => (at >= position ? { ...one, priority } : one));
    const details = { step: step.name, from: step.priority ?? null, to: priority };
    const entry = auditItem({ actor, action: 'workflow.prioritize', subject: `workflow:${id}`, details });
    return { answer: position, set: { steps, updated_at: new Date(), outbox: addTo(live.outbox, entry) } };
  });
  if (index !== -1) await settle(mongo, id);
  return { index };
}

function found(workflow: WorkflowRecord | null, id: string): WorkflowRecord {
  if (workflow === null || workflow.deleting === true) return notFound(id);
  assertReadable(workflow);
  return workflow;
}

function notFound(id: string): never {
  throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `there is no workflow "${id}"`, {
    fields: { workflow_id: id },
  });
}

const isLocked = ({ resume_lock }: WorkflowRecord, lock_seconds: number): boolean =>
  Boolean(resume_lock) && Date.now() - Number(resume_lock) < lock_seconds * 1000;
