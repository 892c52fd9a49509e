import { expect, test } from 'vitest';
import { ERRORS, type ErrorCode, LongshoreError, reportOf } from '../../workers/errors.ts';
import { blameFor, lossDelayMs, oomKills } from '../../workers/fleet/losses.ts';
import { finishOf } from '../../workers/fleet/outcome.ts';
import type { TaskRun } from '../../workers/records/contract.ts';

const now = new Date('2026-01-02T03:04:05.000Z');
const policy = { max: 3, delay_seconds: 5 };
const run = (retries: number) => ({ retries }) as TaskRun;
const failed = (code: ErrorCode) => ({
  kind: 'failed' as const,
  error: reportOf(new LongshoreError(code, 'x')),
});

test('every retryable code is retried after the delay, every other one fails at once', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    if (code === 'E_LEASE_LOST') continue;
    const finish = finishOf(failed(code), run(0), policy, now);
    expect(finish?.outcome, code).toBe(ERRORS[code].class === 'retryable' ? 'retry' : 'failure');
  }
});

test('the fourth failure of a retryable error is final', () => {
  const outcomes = [0, 1, 2, 3].map(
    (retries) => finishOf(failed('E_IO'), run(retries), policy, now)?.outcome,
  );
  expect(outcomes).toEqual(['retry', 'retry', 'retry', 'failure']);
  expect(finishOf(failed('E_IO'), run(0), policy, now)).toMatchObject({
    next_attempt_at: '2026-01-02T03:04:10.000Z',
  });
});

test('a lost lease and a worker that leaves cost neither a retry nor a loss', () => {
  expect(finishOf(failed('E_LEASE_LOST'), run(3), policy, now)?.outcome).toBe('postponed');
  const stopped = (code: ErrorCode) =>
    finishOf({ kind: 'stopped', error: new LongshoreError(code, 'x') }, run(3), policy, now);
  expect(stopped('E_WORKER_STOPPED')?.outcome).toBe('postponed');
  expect(stopped('E_LEASE_LOST')?.outcome).toBe('postponed');
});

test('a task over its time limit is retried as E_TIMEOUT; one that a person stopped is left to the records', () => {
  const timeout = new LongshoreError('E_TIMEOUT', 'x');
  expect(finishOf({ kind: 'stopped', error: timeout }, run(0), policy, now)).toMatchObject({
    outcome: 'retry',
    error: { code: 'E_TIMEOUT' },
  });
  const revoked = new LongshoreError('E_REVOKED', 'x');
  expect(finishOf({ kind: 'stopped', error: revoked }, run(0), policy, now)).toBeNull();
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
