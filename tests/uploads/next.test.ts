import { describe, expect, test } from 'vitest';
import type { UploadLog } from '../../workers/uploads/contract.ts';
import { type Next, nextOf, type TaskSeen } from '../../workers/uploads/next.ts';

const NOW = Date.parse('2026-11-28T12:00:00.000Z');
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const patience = { timeout_ms: 4 * HOUR, at_work_ms: 100 * HOUR, max_retries: 3 };
const zoned = (ms: number): string => new Date(NOW - ms).toISOString();
/** As the reference writes it: UTC without a zone, six digits. */
const unzoned = (ms: number): string => zoned(ms).replace('Z', '000');

const upload = (status: string, more: Partial<UploadLog> = {}): UploadLog => ({
  dataset_id: 7,
  status,
  retry_count: 0,
  process_id: null,
  metadata: {},
  updated_at: zoned(MINUTE),
  dataset: { id: 7, name: 'up', type: 'RAW_DATA', origin_path: '/up' },
  ...more,
});
const verifying = (
  verification_started_at: string | null,
  id: string | null = 't1',
  updated_at = zoned(MINUTE),
) =>
  upload('VERIFYING', {
    updated_at,
    metadata: {
      ...(id === null ? {} : { verification_task_id: id }),
      ...(verification_started_at === null ? {} : { verification_started_at }),
    },
  });
const seen = (status: TaskSeen['status'], more: Partial<TaskSeen> = {}): TaskSeen => ({
  status,
  taken_out: false,
  failure: null,
  ...more,
});

const cases: [string, UploadLog, TaskSeen | null, Partial<Next> & { do: Next['do'] }][] = [
  ['UPLOADED is verified under a new task id', upload('UPLOADED'), null, { do: 'verify', task_id: null }],
  [
    'VERIFYING without a task id waits for five minutes',
    verifying(zoned(4.9 * MINUTE), null),
    null,
    { do: 'wait' },
  ],
  [
    'and is verified anew after them',
    verifying(zoned(5 * MINUTE), null),
    null,
    { do: 'verify', task_id: null },
  ],
  ['also many hours later', verifying(zoned(50 * HOUR), null), null, { do: 'verify', task_id: null }],
  [
    'an id that the records do not know is queued under that id',
    verifying(zoned(MINUTE)),
    null,
    { do: 'verify', task_id: 't1' },
  ],
  [
    'for more than four hours: VERIFICATION_FAILED, by timeout',
    verifying(zoned(4.1 * HOUR)),
    null,
    { do: 'reject' },
  ],
  ['a task that has succeeded: VERIFIED', verifying(zoned(MINUTE)), seen('SUCCESS'), { do: 'verified' }],
  ['also when that took long', verifying(zoned(90 * HOUR)), seen('SUCCESS'), { do: 'verified' }],
  ['a task that waits', verifying(zoned(3 * HOUR)), seen('PENDING'), { do: 'wait' }],
  ['a task that runs', verifying(zoned(3 * HOUR)), seen('STARTED'), { do: 'wait' }],
  ['a task that is tried again', verifying(zoned(3 * HOUR)), seen('RETRY'), { do: 'wait' }],
  [
    'a task that runs for hours within its own limits',
    verifying(zoned(20 * HOUR)),
    seen('STARTED'),
    { do: 'wait' },
  ],
  ['a task that is beyond all its limits', verifying(zoned(101 * HOUR)), seen('STARTED'), { do: 'reject' }],
  [
    'a task that has failed: VERIFICATION_FAILED with its reason',
    verifying(zoned(MINUTE)),
    seen('FAILURE', { failure: 'E_X: why' }),
    { do: 'reject', reason: 'E_X: why' },
  ],
  [
    'a task that was taken out',
    verifying(zoned(MINUTE)),
    seen('REVOKED', { taken_out: true }),
    { do: 'reject' },
  ],
  [
    'a task that was paused waits for its resume',
    verifying(zoned(9 * HOUR)),
    seen('REVOKED'),
    { do: 'wait' },
  ],
  ['VERIFIED is landed', upload('VERIFIED'), null, { do: 'land', retry: false }],
  [
    'PROCESSING_FAILED is landed again',
    upload('PROCESSING_FAILED', { retry_count: 2 }),
    null,
    { do: 'land', retry: true },
  ],
  [
    'and given up after the last retry',
    upload('PROCESSING_FAILED', { retry_count: 3 }),
    null,
    { do: 'give up' },
  ],
  ['also beyond it', upload('PROCESSING_FAILED', { retry_count: 9 }), null, { do: 'give up' }],
  ['COMPLETE waits', upload('COMPLETE'), null, { do: 'wait' }],
  ['a status of a newer API waits', upload('SCANNING'), null, { do: 'wait' }],
];

describe('the table of states', () => {
  test.each(cases)('%s', (_, log, task, expected) => {
    expect(nextOf(log, task, patience, NOW)).toMatchObject(expected);
  });
});

describe('dates', () => {
  const late = [
    zoned(5 * HOUR),
    unzoned(5 * HOUR),
    unzoned(5 * HOUR).replace('T', ' '),
    zoned(5 * HOUR).replace('Z', '+00:00'),
  ];

  test.each(late)('a start at %s is five hours ago', (date) => {
    const next = nextOf(verifying(date), null, patience, NOW);
    expect(next).toMatchObject({ do: 'reject', reason: expect.stringMatching(/timeout.*5\.0 h/) });
  });

  test.each(late)('without a start the date of the log counts: %s', (date) => {
    expect(nextOf(verifying(null, 't1', date), null, patience, NOW)).toMatchObject({ do: 'reject' });
  });

  test('a date that cannot be read fails nothing', () => {
    expect(nextOf(verifying('soon', 't1', 'later'), null, patience, NOW)).toMatchObject({
      do: 'verify',
      task_id: 't1',
    });
  });
});
