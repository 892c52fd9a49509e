import { expect, test } from 'vitest';
import { ERRORS, type ErrorCode, LongshoreError, reportOf } from '../../workers/errors.ts';
import { type ArchiveWait, archiveWaitOf } from '../../workers/fleet/job/archive-wait.ts';
import { blameFor, lossDelayMs, oomKills } from '../../workers/fleet/job/losses.ts';
import { finishOf } from '../../workers/fleet/job/outcome.ts';
import type { AttemptOutcome, TaskRun } from '../../workers/records/contract.ts';

const now = new Date('2026-01-02T03:04:05.000Z');
const policy = { max: 3, delay_seconds: 5 };
const at = (retries: number, wait: Partial<ArchiveWait> = {}) => ({
  run: { retries } as TaskRun,
  policy,
  wait: { since: null, looks: 0, patient: false, ...wait },
});
const failed = (code: ErrorCode) => ({
  kind: 'failed' as const,
  error: reportOf(new LongshoreError(code, 'x')),
});

test('every retryable code is retried after the delay, every other one fails at once', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    if (['E_LEASE_LOST', 'E_OUTDATED', 'E_HELPER_LOST'].includes(code)) continue;
    const finish = finishOf(failed(code), at(0), now);
    expect(finish?.outcome, code).toBe(ERRORS[code].class === 'retryable' ? 'retry' : 'failure');
  }
});

test('a step that meets a newer catalog waits for a worker of that release', () => {
  expect(finishOf(failed('E_OUTDATED'), at(3), now)).toMatchObject({
    outcome: 'postponed',
    next_attempt_at: '2026-01-02T03:04:35.000Z',
  });
});

test('the kill of a program that works for a task is a loss and uses no retry, however many there were', () => {
  expect(finishOf(failed('E_HELPER_LOST'), at(3), now)).toMatchObject({ outcome: 'lost', blame: 0.5 });
});

test('the fourth failure of a retryable error is final', () => {
  const outcomes = [0, 1, 2, 3].map((retries) => finishOf(failed('E_IO'), at(retries), now)?.outcome);
  expect(outcomes).toEqual(['retry', 'retry', 'retry', 'failure']);
  expect(finishOf(failed('E_IO'), at(0), now)).toMatchObject({
    next_attempt_at: '2026-01-02T03:04:10.000Z',
  });
});

test('an archive that is away postpones in growing steps while there is patience, and then fails as others do', () => {
  const seconds = (looks: number): number => {
    const finish = finishOf(failed('E_ARCHIVE_UNAVAILABLE'), at(0, { looks, patient: true }), now);
    if (finish?.outcome !== 'postponed') throw new Error(`it was ${finish?.outcome}`);
    return (Date.parse(finish.next_attempt_at) - now.getTime()) / 1000;
  };
  expect([0, 1, 2, 3, 10, 5000].map(seconds)).toEqual([5, 10, 20, 40, 300, 300]);
  expect(finishOf(failed('E_ARCHIVE_UNAVAILABLE'), at(3), now)?.outcome).toBe('failure');
  expect(finishOf(failed('E_IO'), at(0, { patient: true }), now)?.outcome).toBe('retry');
  const cold = new LongshoreError('E_ARCHIVE_UNAVAILABLE', 'in cold storage', { class: 'operator' });
  const ending = { kind: 'failed', error: reportOf(cold) } as const;
  expect(finishOf(ending, at(0, { patient: true }), now)?.outcome).toBe('failure');
});

test('the wait for an archive is counted over stopped and lost workers, and anew after anything else', () => {
  const end = (outcome: AttemptOutcome | null, code: ErrorCode | null, minute: number) => ({
    outcome,
    error: code === null ? null : reportOf(new LongshoreError(code, 'x')),
    date_start: `2026-01-02T03:${String(minute).padStart(2, '0')}:00.000Z`,
    date_end: `2026-01-02T03:${String(minute).padStart(2, '0')}:00.000Z`,
  });
  const away = (minute: number) => end('postponed', 'E_ARCHIVE_UNAVAILABLE', minute);
  const late = new Date('2026-01-02T03:30:00.000Z');
  const of = (...attempts: ReturnType<typeof end>[]) => archiveWaitOf(attempts, 1200, late);
  expect(of(end(null, null, 0))).toEqual({ since: null, looks: 0, patient: true });
  const waited = [away(5), end('lost', null, 6), end('postponed', null, 7), away(8), end(null, null, 9)];
  expect(of(...waited)).toEqual({ since: '2026-01-02T03:05:00.000Z', looks: 2, patient: false });
  expect(of(away(5), end('retry', 'E_IO', 15), away(16))).toMatchObject({ looks: 1, patient: true });
  expect(of(away(5), end('revoked', null, 15), away(16))).toMatchObject({ looks: 1, patient: true });
  // With the patience over it is tried again as its policy says, and not patient once more.
  expect(of(away(5), end('retry', 'E_ARCHIVE_UNAVAILABLE', 29))).toMatchObject({ looks: 2, patient: false });
  // What had long been at work when its worker was stopped or killed had reached the archive.
  const worked = (outcome: 'lost' | 'postponed') => ({
    ...end(outcome, null, 27),
    date_start: '2026-01-02T03:06:00.000Z',
  });
  expect(of(away(5), worked('postponed'), away(28))).toMatchObject({ looks: 1, patient: true });
  expect(of(away(5), worked('lost'), away(28))).toMatchObject({ looks: 1, patient: true });
});

test('a lost lease and a worker that leaves cost neither a retry nor a loss', () => {
  expect(finishOf(failed('E_LEASE_LOST'), at(3), now)?.outcome).toBe('postponed');
  const stopped = (code: ErrorCode) =>
    finishOf({ kind: 'stopped', error: new LongshoreError(code, 'x') }, at(3), now);
  expect(stopped('E_WORKER_STOPPED')?.outcome).toBe('postponed');
  expect(stopped('E_LEASE_LOST')?.outcome).toBe('postponed');
});

test('a task over its time limit is retried as E_TIMEOUT; one that a person stopped is left to the records', () => {
  const timeout = new LongshoreError('E_TIMEOUT', 'x');
  expect(finishOf({ kind: 'stopped', error: timeout }, at(0), now)).toMatchObject({
    outcome: 'retry',
    error: { code: 'E_TIMEOUT' },
  });
  const revoked = new LongshoreError('E_REVOKED', 'x');
  expect(finishOf({ kind: 'stopped', error: revoked }, at(0), now)).toBeNull();
});

test('the wait after a lost process grows and stays short', () => {
  expect([0, 1, 2, 50].map(lossDelayMs)).toEqual([200, 400, 800, 5000]);
});

test('a job is to blame for a crash and for memory, and half for being killed by somebody', () => {
  expect(blameFor(null, { before: 3, after: 3 })).toBe(1);
  expect(blameFor('SIGSEGV', { before: 3, after: 3 })).toBe(1);
  expect(blameFor('SIGKILL', { before: 3, after: 4 })).toBe(1);
  expect(blameFor('SIGKILL', { before: Number.NaN, after: Number.NaN })).toBe(1);
  expect(blameFor('SIGKILL', { before: 3, after: 3 })).toBe(0.5);
  expect(oomKills()).toBeGreaterThanOrEqual(0);
});
