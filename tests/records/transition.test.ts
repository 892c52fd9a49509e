import { expect, test } from 'vitest';
import { accepts, move, type RunEvent, type RunState, stateOf } from '../../workers/records/transition.ts';

const events: RunEvent[] = [
  'claim',
  'poison',
  'progress',
  'success',
  'retry',
  'failure',
  'postponed',
  'lost',
  'pause',
  'resume',
  'force',
];

/** One row per state, one column per event, `.` for no move. */
const table: Record<RunState, string> = {
  absent: 'open . . . . . . . revoked . absent',
  open: 'open failure open success retry failure parked parked revoked . revoked',
  parked: 'open failure . . . . . . revoked . revoked',
  retry: 'open . . . . . . . revoked . revoked',
  success: '. . . . . . . . . . .',
  failure: '. . . . . . . . . absent absent',
  revoked: '. . . . . . . . . absent absent',
};

test.each(Object.entries(table) as [RunState, string][])(
  'every move from %s is the written one',
  (state, row) => {
    const cells = row.split(' ');
    expect(cells).toHaveLength(events.length);
    for (const [column, event] of events.entries()) {
      if (cells[column] === '.') {
        expect(accepts(state, event)).toBe(false);
        expect(() => move(state, event)).toThrow(expect.objectContaining({ code: 'E_WORKFLOW_STATE' }));
      } else {
        expect(accepts(state, event)).toBe(true);
        expect(move(state, event)).toBe(cells[column]);
      }
    }
  },
);

test('STARTED reads as open while its attempt is open and as parked afterwards', () => {
  expect(stateOf(null, false)).toBe('absent');
  expect(stateOf({ status: 'STARTED' }, true)).toBe('open');
  expect(stateOf({ status: 'STARTED' }, false)).toBe('parked');
  expect(stateOf({ status: 'RETRY' }, false)).toBe('retry');
});
