/**
 * What workers do: take a step, report on it, end it. The document of the run decides each of these by one write; the
 * workflow follows (settle.ts).
 */
import { change, insertOnce, read } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { addTo } from '../../mongodb/outbox.ts';
import { toJson } from '../../sqlite/values.ts';
import type {
  Attempt,
  AttemptKey,
  Claim,
  ClaimVerdict,
  Finish,
  Finished,
  NextStep,
  Records,
} from '../contract.ts';
import { failureOf, reportBy } from '../failure.ts';
import { isSetAside } from '../losses.ts';
import {
  type AttemptPart,
  type AttemptRecord,
  attemptOf,
  nextTaskIdOf,
  type RunRecord,
  runOf,
  WORKFLOWS,
  type WorkflowRecord,
  workflowOf,
} from './documents.ts';
import { takeBack } from './deletion.ts';
import { attemptsOf, lose, shareOfTask } from './losses.ts';
import { revokeRun } from './revoke.ts';
import {
  argsOf,
  closeAttempt,
  current,
  isOpen,
  lackingIn,
  lastRunOf,
  loadRuns,
  moved,
  newRun,
  openAttempt,
  resultWith,
  returnedBy,
  type Runs,
  runsOf,
  stateOfRun,
} from './runs.ts';
import { readWorkflow, settle } from './settle.ts';
import { newRecord } from './new.ts';
import { move } from '../transition.ts';

type ClaimRecords = Pick<Records, 'claim' | 'running' | 'progress' | 'isCurrent' | 'finish' | 'attempts'>;

/** The run while this attempt may write. */
const whileCurrent = ({ task_id, number }: AttemptKey) => ({
  _id: task_id,
  status: 'STARTED' as const,
  'attempt.number': number,
  'attempt.date_end': null,
});

export function claimRecords(mongo: Mongo): ClaimRecords {
  const runs = runsOf(mongo);
  return {
    claim: (claim, policy) => claimStep(mongo, claim, policy.max_losses),
    running: (key, process) =>
      change<RunRecord, boolean>(mongo, runs, key.task_id, (run) => {
        const now = current(run, key.number);
        if (now === null) return { answer: false };
        const { pgid, code = null } = process;
        const result = resultWith(now.result, process);
        return { answer: true, set: { attempt: { ...now.attempt, pgid, code }, result } };
      }),
    progress: async (key, progress) => {
      const result = toJson(progress);
      const { matchedCount } = await mongo.run(() => runs.updateOne(whileCurrent(key), { $set: { result } }));
      return matchedCount === 1;
    },
    isCurrent: async (key) => current(await read(mongo, runs, key.task_id), key.number) !== null,
    finish: (key, finish) => finishAttempt(mongo, key, finish),
    attempts: (task_id) => attemptsIn(mongo, task_id),
  };
}

type Decided = ClaimVerdict | { verdict: 'claimed'; run: RunRecord; orphan: AttemptPart | null };

async function claimStep(mongo: Mongo, claim: Claim, max_losses: number): Promise<ClaimVerdict> {
  const workflow = await readWorkflow(mongo, claim.workflow_id);
  if (workflow?.steps[claim.index] === undefined) return { verdict: 'missing' };
  const task_id = nextTaskIdOf(workflow, claim.index);
  const runs = await loadRuns(mongo, [workflow]);
  if (claim.index > 0 && lastRunOf(workflow, claim.index - 1, runs)?.status !== 'SUCCESS')
    return { verdict: 'early' };

  const decided = await change<RunRecord, Decided>(mongo, runsOf(mongo), task_id, (run) =>
    decideClaim(mongo, { claim, workflow, runs, max_losses }, run),
  );
  const after = await settle(mongo, workflow._id);
  if (decided.verdict !== 'claimed') return decided;
  if (after === null) {
    await takeBack(mongo, task_id);
    return { verdict: 'missing' };
  }
  // A resume by force gave the step another task id meanwhile: one of the two has to see the other.
  if (nextTaskIdOf(after, claim.index) !== task_id) {
    await revokeRun(mongo, task_id, { reason: 'its step was resumed under another task id' });
    return { verdict: 'stopped', status: 'REVOKED' };
  }
  const number = decided.run.attempt?.number ?? 1;
  return {
    verdict: 'run',
    key: { task_id, number },
    run: runOf(decided.run),
    workflow: workflowOf(after),
    orphan: decided.orphan === null ? null : attemptOf(task_id, decided.orphan),
  };
}

interface Situation {
  claim: Claim;
  workflow: WorkflowRecord;
  runs: Runs;
  max_losses: number;
}

async function decideClaim(
  mongo: Mongo,
  { claim, workflow, runs, max_losses }: Situation,
  run: RunRecord | null,
) {
  const state = stateOfRun(run);
  if (run === null) {
    const args = argsOf(workflow, claim.index, runs);
    if (args === null) return { answer: { verdict: 'stopped', status: 'PENDING' } as const };
    const fresh = newRun(workflow, claim.index, { args, worker: claim.worker, state: move(state, 'claim') });
    const set = {
      ...fresh,
      result: resultWith(fresh.result, claim.process),
      attempt: openAttempt(1, claim),
    };
    return { set, answer: claimed({ ...set, _id: nextTaskIdOf(workflow, claim.index) }, null) };
  }
  if (state === 'success') return { answer: { verdict: 'done', result: returnedBy(run) } as const };
  if (state === 'failure' || state === 'revoked')
    return { answer: { verdict: 'stopped', status: run.status } as const };

  const lost = isOpen(run.attempt) ? await lose(mongo, run, run.attempt, claim) : null;
  const losses = lost?.losses ?? run.losses ?? 0;
  const blame = lost?.blame ?? run.blame ?? 0;
  const orphan = lost?.attempt ?? null;
  if (isSetAside({ losses, blame }, max_losses)) {
    const message = `step "${run.step ?? ''}" lost its process ${losses} times (workflow.max_losses is ${max_losses})`;
    const report = reportBy('E_WORKER_LOST', message, { losses, max_losses, task_id: run._id });
    const end = moved(state, 'poison', { result: failureOf(report) });
    const set = { ...end, losses, blame, ...(orphan === null ? {} : { attempt: orphan }) };
    const gone = orphan === null ? null : attemptOf(run._id, orphan);
    return { set, answer: { verdict: 'poisoned', losses, orphan: gone } as const };
  }
  move(state, 'claim');
  // It never changes any more, so that whoever else claims at this moment writes the same.
  if (run.closed) await insertOnce(mongo, attemptsOf(mongo), archived(run._id, run.closed));
  const closed = orphan ?? run.attempt ?? null;
  const retried = state === 'retry' ? 1 : 0;
  const set = {
    ...lackingIn(run, workflow, claim.index, runs),
    status: 'STARTED' as const,
    worker: claim.worker,
    retries: (run.retries ?? 0) + retried,
    traceback: null,
    result: resultWith(retried === 1 || orphan !== null ? null : run.result, claim.process),
    losses,
    blame,
    attempt: openAttempt((closed?.number ?? 0) + 1, claim),
    closed,
  };
  return { set, answer: claimed({ ...run, ...set }, orphan) };
}

const claimed = (run: RunRecord, orphan: AttemptPart | null): Decided => ({
  verdict: 'claimed',
  run,
  orphan,
});
const archived = (task_id: string, attempt: AttemptPart): AttemptRecord => ({
  _id: `${task_id}:${attempt.number}`,
  task_id,
  ...attempt,
});

async function finishAttempt(mongo: Mongo, key: AttemptKey, finish: Finish): Promise<Finished | null> {
  const lost = finish.outcome === 'lost' ? (finish.blame ?? 1) * (await shareOfTask(mongo, key.task_id)) : 0;
  const run = await change<RunRecord, RunRecord | null>(mongo, runsOf(mongo), key.task_id, (found) => {
    const now = current(found, key.number);
    if (now === null) return { answer: null };
    return {
      answer: now,
      set: { attempt: closeAttempt(now.attempt, finish), ...ended(now, finish, lost) },
    };
  });
  if (run === null) return null;
  const workflow = await settle(mongo, run.workflow_id ?? '');
  return { next: finish.outcome === 'success' ? stepAfter(workflow, run) : null };
}

function stepAfter(workflow: WorkflowRecord | null, { position }: RunRecord): NextStep | null {
  if (workflow === null || position === undefined) return null;
  const step = workflowOf(workflow).steps[position + 1];
  if (step === undefined) return null;
  const { task, queue, priority } = step;
  return { index: position + 1, task, queue, priority };
}

/** @param blame of a loss */
function ended(run: RunRecord, finish: Finish, blame: number): Partial<RunRecord> {
  switch (finish.outcome) {
    case 'success': {
      const followers = run.is_last === true ? (finish.then ?? []) : [];
      const items = followers.map((follower) => ({ collection: WORKFLOWS, document: newRecord(follower) }));
      return {
        ...moved('open', 'success', { result: finish.result }),
        ...(items.length === 0 ? {} : { outbox: addTo(run.outbox, ...items) }),
      };
    }
    case 'retry':
    case 'failure':
      return moved('open', finish.outcome, {
        result: failureOf(finish.error),
        traceback: finish.error.traceback,
      });
    case 'postponed':
      move('open', 'postponed');
      return finish.result === undefined ? {} : { result: toJson(finish.result) };
    case 'lost':
      move('open', 'lost');
      return {
        losses: (run.losses ?? 0) + 1,
        blame: (run.blame ?? 0) + blame,
        result: null,
      };
  }
}

/** Those that have moved out of the run, the one that is about to, and the newest one. */
async function attemptsIn(mongo: Mongo, task_id: string): Promise<Attempt[]> {
  const run = await read(mongo, runsOf(mongo), task_id);
  const earlier = await mongo.run(() => attemptsOf(mongo).find({ task_id }).sort({ number: 1 }).toArray());
  const own = [run?.closed, run?.attempt].flatMap((attempt) => attempt ?? []);
  const first = own[0]?.number ?? Number.POSITIVE_INFINITY;
  return [
    ...earlier.filter(({ number }) => number < first).map((part) => attemptOf(task_id, part)),
    ...own.map((part) => attemptOf(task_id, part)),
  ];
}
