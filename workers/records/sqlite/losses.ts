/** Losses of processes, and who shares the blame for them. */
import type { Statements } from '../../sqlite/database.ts';
import type { Claim } from '../contract.ts';
import { type Loser, lossesSince, shareOfLoss } from '../losses.ts';
import type { AttemptRow, RunRow } from './rows.ts';
import { closeAttempt, type Standing } from './runs.ts';

const GIVEN_ON = 'its job was given to ';

/** An attempt that is still open when its job is claimed again has lost its worker. */
export function closeOrphan(
  sql: Statements,
  { run, attempt, state }: Standing,
  claim: Claim,
): AttemptRow | null {
  if (run === null || attempt === null || state !== 'open') return null;
  const blame = shareOf(sql, run, attempt.worker);
  closeAttempt(sql, attempt, { outcome: 'lost', reason: `${GIVEN_ON}${claim.worker}` });
  countLoss(sql, run, blame);
  return sql.get<AttemptRow>(
    'select * from attempts where task_id = ? and number = ?',
    attempt.task_id,
    attempt.number,
  ) as AttemptRow;
}

/** @param blame 0..1: how likely it is that the job itself brought its process down */
export function countLoss(sql: Statements, { task_id }: RunRow, blame: number): void {
  sql.run(
    'update runs set losses = losses + 1, blame = blame + ?, result = null where task_id = ?',
    blame,
    task_id,
  );
}

/**
 * Of a loss that is about to be counted. With it are looked at the tasks that are still open under the name of a lost
 * worker, those that were given on already, and all in the records that have lost their processes lately.
 */
export function shareOf(sql: Statements, { task_id, losses }: RunRow, worker: string | null): number {
  const others = sql.all<{ task_id: string; losses: number; status: RunRow['status'] }>(
    `select task_id, losses + max(open) as losses, status from (
       select task_id, 1 as open from attempts where worker = ?1 and date_end is null
       union select task_id, 0 from attempts where worker = ?1 and outcome = 'lost' and substr(reason, 1, ?2) = ?3
       union select task_id, 0 from attempts where outcome = 'lost' and date_end > ?4)
     join runs using (task_id) group by task_id`,
    worker,
    GIVEN_ON.length,
    GIVEN_ON,
    lossesSince(),
  );
  const losers = others.map(({ status, ...one }): Loser => ({ ...one, failed: status === 'FAILURE' }));
  return shareOfLoss({ task_id, losses: losses + 1 }, losers);
}
