import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from '../../sqlite/database.ts';
import type { Records } from '../contract.ts';

/** Runs looked at in one turn of the event loop: some 50 ms. */
const RUNS_AT_ONCE = 100_000;

/**
 * There are a few names in a million runs, and an index would be written for every run. So what was seen is remembered, and
 * only the runs since then are looked at.
 */
export function stepNameRecords(database: Database): Pick<Records, 'stepNames'> {
  const names = new Set<string>();
  let seen = 0;
  const lookOn = (): Promise<boolean> =>
    database.read((sql) => {
      const last = sql.get<{ last: number | null }>('select max(number) as last from runs')?.last ?? 0;
      const to = Math.min(seen + RUNS_AT_ONCE, last);
      const rows = sql.all<{ step: string }>(
        'select distinct step from runs where number > ? and number <= ?',
        seen,
        to,
      );
      for (const { step } of rows) names.add(step);
      seen = Math.max(seen, to);
      return to < last;
    });
  return {
    stepNames: async () => {
      while (await lookOn()) await nextTurn();
      return [...names].toSorted();
    },
  };
}
