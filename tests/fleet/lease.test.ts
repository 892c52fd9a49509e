import { expect, test } from 'vitest';
import { LongshoreError, reportOf } from '../../workers/errors.ts';
import { createLease } from '../../workers/fleet/isolation/lease.ts';
import type { FromTask } from '../../workers/fleet/isolation/messages.ts';

function makeLease() {
  const asked: FromTask[] = [];
  const taken = new AbortController();
  return { asked, taken, lease: createLease((message) => void asked.push(message), taken.signal) };
}

test('a task may publish when its worker says so, each answer to the question that it is for', async () => {
  const { asked, lease } = makeLease();
  const first = lease.assert();
  const second = lease.assert();
  expect(asked).toEqual([
    { kind: 'lease', question: 1 },
    { kind: 'lease', question: 2 },
  ]);
  lease.answered({ kind: 'lease', question: 2, held: false, reason: 'the lock on its job was lost' });
  lease.answered({ kind: 'lease', question: 1, held: true, reason: '' });
  await expect(second).rejects.toMatchObject({
    code: 'E_LEASE_LOST',
    message: 'this attempt may not publish: the lock on its job was lost',
  });
  await first;
});

test('a permit is what the worker was granted; that it could not ask is no refusal', async () => {
  const { asked, lease } = makeLease();
  const [granted, refused, failed] = [1, 2, 3].map(() => lease.permit('tape', 3));
  expect(asked[0]).toEqual({ kind: 'permit', question: 1, resource: 'tape', limit: 3 });
  const error = reportOf(new LongshoreError('E_REDIS_UNAVAILABLE', 'away'));
  lease.answered({ kind: 'permit', question: 1, granted: true, error: null });
  lease.answered({ kind: 'permit', question: 2, granted: false, error: null });
  lease.answered({ kind: 'permit', question: 3, granted: false, error });
  expect(await granted).toBe(true);
  expect(await refused).toBe(false);
  await expect(failed).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' });
});

test('who was stopped gets no more leave, neither for what is asked nor for what it asks then', async () => {
  const { asked, taken, lease } = makeLease();
  const waiting = lease.assert();
  const reason = new LongshoreError('E_REVOKED', 'paused');
  taken.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  lease.answered({ kind: 'lease', question: 1, held: true, reason: '' });
  await expect(lease.assert()).rejects.toBe(reason);
  expect(asked).toHaveLength(1);
});
