/** What is recorded of an attempt that has ended, and what the queue is told then. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Job } from 'bullmq';
import { expect, test } from 'vitest';
import { LongshoreError, reportOf } from '../../workers/errors.ts';
import type { WorkerParts } from '../../workers/fleet/job/attempt.ts';
import { conclude, type Held } from '../../workers/fleet/job/conclude.ts';
import { createLogger } from '../../workers/log.ts';
import type { JobData } from '../../workers/queue/jobs.ts';
import type { Finish, Finished } from '../../workers/records/contract.ts';

const NEXT = { index: 1, task: 'noop', queue: 'q', priority: 5 };
const SUCCESS: Finish = { outcome: 'success', result: [7, 'more'] };

/**
 * @param answer of the records to each end that they are told
 * @param handed whether the queue takes the next step by the turn that it has; an error: it does not answer
 */
async function ends(
  finish: Finish | null,
  answer: (told: Finish) => Finished | null,
  handed: boolean | Error = true,
) {
  const told: string[] = [];
  const job = {
    data: { workflow_id: 'w', index: 0 },
    priority: 5,
    queueName: 'q',
    moveToDelayed: async () => void told.push('delayed'),
  } as unknown as Job<JobData>;
  const parts = {
    log: createLogger('test', {}, { level: 'fatal' }),
    troubles: { record: { met: () => undefined, over: () => undefined } },
    config: { workflow_registry: { w: { steps: [], then: ['follower'] } } },
    store: {
      records: {
        workflowWithRuns: async (id: string) => {
          told.push(`looked at ${id === 'w' ? 'it' : 'another'}`);
          return null;
        },
        finish: async (_: unknown, end: Finish) => {
          told.push(`recorded ${end.outcome}`);
          return answer(end);
        },
      },
    },
    side: {
      chains: {
        handOver: async () => {
          await nextTurn();
          if (handed instanceof Error) throw handed;
          told.push('handed over');
          return handed;
        },
      },
      shares: { again: async (_: string, priority: number) => priority },
    },
  } as unknown as WorkerParts;
  const key = { task_id: 't', number: 1 };
  const workflow = { id: 'w', name: 'w', app_id: 'a', dataset_id: 1 };
  const held: Held = { job, token: 'token', key, workflow, losses: 0 };
  const end = await conclude(parts, held, finish, 1).catch(
    (error: Error) => `${error.name}: ${error.message}`,
  );
  return { told, end };
}

test('a success is recorded before the next step is in the queue', async () => {
  expect(await ends(SUCCESS, () => ({ next: NEXT }))).toEqual({
    told: ['recorded success', 'handed over'],
    end: 7,
  });
});

test('where the turn of the next step was changed meanwhile it is put in anew; after the last one follows another workflow', async () => {
  const { told } = await ends(SUCCESS, () => ({ next: NEXT }), false);
  expect(told).toEqual(['recorded success', 'handed over', 'looked at it']);
  const last = await ends(SUCCESS, () => ({ next: null }));
  expect(last.told).toEqual(['recorded success', 'looked at another']);
});

test('a job whose hand-over fails is not done: whoever gets it next hands over again', async () => {
  const { told, end } = await ends(SUCCESS, () => ({ next: NEXT }), new Error('Redis went away'));
  expect({ told, end }).toEqual({ told: ['recorded success'], end: 'Error: Redis went away' });
});

test('an outcome that the records do not take for a moment is told again, and not lost', async () => {
  let tries = 0;
  const { told, end } = await ends(SUCCESS, () => {
    tries += 1;
    if (tries === 1) throw new LongshoreError('E_CATALOG_UNAVAILABLE', 'away');
    return { next: NEXT };
  });
  expect({ told, end }).toEqual({ told: ['recorded success', 'recorded success', 'handed over'], end: 7 });
});

test.for([
  ['E_NO_SPACE', 500],
  ['E_CATALOG_UNAVAILABLE', 500],
  ['E_MONGODB_UNAVAILABLE', 500],
  ['E_TASK_CRASHED', 30],
] as const)(
  '%s keeps an outcome for %i tries at least, so that the task is not run again',
  async ([code, most]) => {
    let tries = 0;
    const { told, end } = await ends(SUCCESS, () => {
      tries += 1;
      if (tries < 500) throw new LongshoreError(code, 'not now');
      return { next: NEXT };
    });
    expect(tries).toBe(most);
    if (most === 500) expect({ last: told.at(-1), end }).toEqual({ last: 'handed over', end: 7 });
    else expect(end).toBe('LongshoreError: not now');
  },
);

test('who was overtaken or stopped hands nothing over', async () => {
  const overtaken = await ends(SUCCESS, () => null);
  expect(overtaken).toEqual({ told: ['recorded success'], end: 'UnrecoverableError: overtaken' });
  expect(await ends(null, () => null)).toEqual({ told: [], end: 'UnrecoverableError: stopped' });
});

test('what is to be tried again is recorded before it goes back to the queue', async () => {
  const next_attempt_at = new Date().toISOString();
  const error = reportOf(new LongshoreError('E_IO', 'read failed'));
  for (const finish of [
    { outcome: 'retry', error, next_attempt_at },
    { outcome: 'postponed', reason: 'waits', next_attempt_at },
    { outcome: 'lost', reason: 'killed' },
  ] as Finish[]) {
    const { told, end } = await ends(finish, () => ({ next: null }));
    expect(told).toEqual([`recorded ${finish.outcome}`, 'delayed']);
    expect(end).toMatch(/^DelayedError/);
  }
});

test('a result that the records can never take fails the step, instead of losing its job again and again', async () => {
  const { told, end } = await ends(SUCCESS, ({ outcome }) => {
    if (outcome === 'success') throw new LongshoreError('E_VALUE', 'a value of 20 MB');
    return { next: null };
  });
  expect(told).toEqual(['recorded success', 'recorded failure']);
  expect(end).toBe(
    'UnrecoverableError: the step ended as "success", which cannot be recorded: a value of 20 MB',
  );
});
