/** Losses of processes, and who shares the blame for them. */
import type { Mongo } from '../../mongodb/connection.ts';
import type { Claim } from '../contract.ts';
import { type Loser, lossesSince, shareOfLoss } from '../losses.ts';
import { ATTEMPTS, type AttemptPart, type AttemptRecord, type RunRecord } from './documents.ts';
import { closeAttempt, runsOf } from './runs.ts';

export const attemptsOf = (mongo: Mongo) => mongo.collection<AttemptRecord>(ATTEMPTS);

/** An attempt that is still open when its job is claimed again has lost its worker. */
export async function lose(mongo: Mongo, run: RunRecord, attempt: AttemptPart, claim: Claim) {
  const share = await shareOf(mongo, run, attempt.worker);
  const reason = `its job was given to ${claim.worker}`;
  return {
    attempt: { ...closeAttempt(attempt, { outcome: 'lost', reason }), given_on: true },
    losses: (run.losses ?? 0) + 1,
    blame: (run.blame ?? 0) + share,
  };
}

type Lost = Pick<RunRecord, '_id' | 'losses' | 'status' | 'attempt'>;

/**
 * Of a loss that is about to be counted. With it are looked at the tasks that are still open under the name of a lost
 * worker, those that were given on already, and all in the records that have lost their processes lately.
 */
async function shareOf(
  mongo: Mongo,
  { _id, losses = 0 }: Pick<RunRecord, '_id' | 'losses'>,
  worker: string | null,
): Promise<number> {
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
    Promise.all(inRuns.map((filter) => lostRuns(mongo, filter))),
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
  const found = new Map(ofRuns.flat().map((run) => [run._id, run]));
  const missing = ofAttempts.flat().map(({ task_id }) => task_id);
  const older = missing.filter((task_id) => !found.has(task_id));
  if (older.length > 0)
    for (const run of await lostRuns(mongo, { _id: { $in: [...new Set(older)] } })) found.set(run._id, run);
  const losers = [...found.values()].map((run) => loserOf(run, worker));
  return shareOfLoss({ task_id: _id, losses: losses + 1 }, losers);
}

/** Of the loss of one that its worker saw die. */
export async function shareOfTask(mongo: Mongo, task_id: string): Promise<number> {
  const run = await mongo.run(() => runsOf(mongo).findOne({ _id: task_id }, { projection: { losses: 1 } }));
  return run === null ? 1 : shareOf(mongo, run, null);
}

const lostRuns = (mongo: Mongo, filter: object): Promise<Lost[]> =>
  mongo.run(() =>
    runsOf(mongo)
      .find(filter, { projection: { losses: 1, status: 1, attempt: 1 } })
      .toArray(),
  );

function loserOf({ _id, losses = 0, status, attempt }: Lost, worker: string | null): Loser {
  const open = attempt?.worker === worker && attempt.date_end === null ? 1 : 0;
  return { task_id: _id, losses: losses + open, failed: status === 'FAILURE' };
}
