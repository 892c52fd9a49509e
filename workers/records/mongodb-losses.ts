/** Losses of processes, and who shares the blame for them. */
import type { Mongo } from '../mongodb/connection.ts';
import type { Claim } from './contract.ts';
import { lossesSince } from './failure.ts';
import { ATTEMPTS, type AttemptPart, type AttemptRecord, type RunRecord } from './mongodb-documents.ts';
import { closeAttempt, runsOf } from './mongodb-runs.ts';

export const attemptsOf = (mongo: Mongo) => mongo.collection<AttemptRecord>(ATTEMPTS);

/**
 * An attempt that is still open when its job is claimed again has lost its worker. A worker that dies takes all its
 * jobs along, and at most one of them is the reason: each gets its share of the blame, with those that lost their
 * processes lately.
 */
export async function lose(mongo: Mongo, run: RunRecord, attempt: AttemptPart, claim: Claim) {
  const share = 1 / (await sharers(mongo, run._id, attempt.worker));
  const reason = `its job was given to ${claim.worker}`;
  return {
    attempt: { ...closeAttempt(attempt, { outcome: 'lost', reason }), given_on: true },
    losses: (run.losses ?? 0) + 1,
    blame: (run.blame ?? 0) + share,
  };
}

/**
 * How many tasks share a loss of `task_id`: those still open under the name of a lost worker, those that were given on
 * already, and every one in the records that has lost its process lately.
 */
export async function sharers(mongo: Mongo, task_id: string, worker: string | null): Promise<number> {
  const runs = runsOf(mongo);
  const ids = { projection: { _id: 1 } };
  const lately = { $gt: lossesSince() };
  const together =
    worker === null
      ? []
      : [
          { 'attempt.worker': worker, 'attempt.date_end': null },
          { 'closed.worker': worker, 'closed.given_on': true },
        ];
  const inRuns = [
    ...together,
    { 'attempt.outcome': 'lost' as const, 'attempt.date_end': lately },
    { 'closed.outcome': 'lost' as const, 'closed.date_end': lately },
  ];
  const inAttempts = [
    ...(worker === null ? [] : [{ worker, given_on: true }]),
    { outcome: 'lost' as const, date_end: lately },
  ];
  const [ofRuns, ofAttempts] = await Promise.all([
    Promise.all(inRuns.map((filter) => mongo.run(() => runs.find(filter, ids).toArray()))),
    Promise.all(
      inAttempts.map((filter) =>
        mongo.run(() =>
          attemptsOf(mongo)
            .find(filter, { projection: { task_id: 1 } })
            .toArray(),
        ),
      ),
    ),
  ]);
  const tasks = new Set([task_id, ...ofRuns.flat().map(({ _id }) => _id)]);
  for (const attempt of ofAttempts.flat()) tasks.add(attempt.task_id);
  return tasks.size;
}
