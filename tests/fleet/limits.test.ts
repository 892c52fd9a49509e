import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { expect, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { membersOf } from '../../workers/fleet/isolation/process-group.ts';
import { launchOf, limitsOf } from '../../workers/fleet/isolation/task-limits.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const MIB = 1024 ** 2;

async function glutton(fleet: Fleet, kwargs: Record<string, unknown>): Promise<string> {
  const steps = [{ name: 'one', task: 'glutton', kwargs: { journal: fleet.journal, ...kwargs } }];
  const options = { initiator: 'test', dataset_id: await fleet.dataset() };
  return (await fleet.engine.start({ name: 'feast', steps }, options)).id;
}

test.each(['buffers', 'heap', 'program'])(
  'a task whose memory (%s) outgrows its limit is ended by name, and its process group with it',
  async (takes) => {
    const fleet = await makeFleet();
    await fleet.worker();
    const id = await glutton(fleet, { takes });
    const failed = await fleet.reaches(id, 'FAILURE');
    expect(failed.steps[0]?.last_task_run).toMatchObject({
      losses: 0,
      retries: 0,
      result: {
        code: 'E_MEMORY_LIMIT',
        fields: { limit: 200 * MIB },
        hint: expect.stringContaining('memory_bytes'),
      },
    });
    expect(fleet.events('start')).toHaveLength(1);
    expect(membersOf(fleet.events('start')[0]?.pid ?? -1)).toEqual([]);
  },
);

test('a task, with what it starts, is what the kernel kills before its worker when memory runs out', async () => {
  const rankOf = (pid = 0): number => Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'latin1'));
  const fleet = await makeFleet();
  const worker = await fleet.worker();
  const go = fleet.place.path('go');
  const id = await fleet.start({ one: { grandchild: true, until_file: go } });
  const { grandchild } = await until(() => fleet.events('grandchild')[0]);
  for (const one of [fleet.events('start')[0]?.pid, grandchild])
    expect(rankOf(one)).toBe(Math.min(1000, rankOf(worker.pid) + 300));
  writeFileSync(go, '');
  await fleet.reaches(id, 'SUCCESS');
});

test('a task whose soft time limit is over keeps what it has, still as owner of its job, and goes on from there', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  const checkpoint = fleet.place.path('checkpoint');
  const id = await glutton(fleet, { takes: 'time', checkpoint });
  const done = await fleet.reaches(id, 'SUCCESS');
  expect(existsSync(checkpoint)).toBe(true);
  const attempts = await fleet.store.records.attempts(done.steps[0]?.last_task_run?._id ?? '');
  expect(attempts.map(({ outcome }) => outcome)).toEqual(['postponed', 'success']);
});

test('a task that does not heed its soft limit is ended by the hard one, and retried', async () => {
  const limits = { drill: { soft_time_limit_seconds: 1, time_limit_seconds: 2 } };
  const retry = { max: 0, delay_seconds: 0.1 };
  const fleet = await makeFleet({ task: { kill_grace_seconds: 0.2, limits }, workflow: { retry } });
  await fleet.worker();
  const id = await fleet.start({ one: { deaf_until_file: '/nowhere', grandchild: true } });
  const failed = await fleet.reaches(id, 'FAILURE');
  expect(failed.steps[0]?.last_task_run?.result).toMatchObject({
    code: 'E_TIMEOUT',
    fields: { limit: 'hard', seconds: 2 },
  });
  const [start] = fleet.events('start');
  expect(start).toBeDefined();
  expect(membersOf(start?.pid ?? -1)).toEqual([]);
});

test('every thread of a task gives way as the task declares, from its first run on', async () => {
  const fleet = await makeFleet();
  await fleet.worker();
  await fleet.reaches(await glutton(fleet, { takes: 'nothing' }), 'SUCCESS');
  const [start] = fleet.events('start') as unknown as { niceness: number[]; io: string; heap: string }[];
  expect(fleet.events('start')).toHaveLength(1);
  expect(start?.niceness.length).toBeGreaterThan(1);
  expect(new Set(start?.niceness)).toEqual(new Set([getPriority() + 7]));
  expect(start).toMatchObject({ io: 'idle', heap: '--max-old-space-size=150' });
});

test('the site beats the task, and the task beats what holds for all', () => {
  const all = {
    time_limit_seconds: 10,
    soft_time_limit_seconds: null,
    memory_bytes: null,
    nice: 1,
    ionice: null,
    attempts_per_process: 1,
  };
  const config = { task: { ...all, kill_grace_seconds: 1, limits: { t: { nice: 3 } } } } as unknown as Config;
  const declared = { nice: 2, memory_bytes: 128 * MIB };
  expect(limitsOf(config, 't', declared)).toEqual({ ...all, memory_bytes: 128 * MIB, nice: 3 });
  expect(limitsOf(config, 'other', declared)).toEqual({ ...all, memory_bytes: 128 * MIB, nice: 2 });
  expect(limitsOf(config, 'other', {})).toEqual(all);
});

test('without limits a task is started as it is', () => {
  const node = { command: '/bin/node', args: ['task.ts'] };
  const none = {
    time_limit_seconds: 1,
    soft_time_limit_seconds: null,
    memory_bytes: null,
    nice: 0,
    ionice: null,
    attempts_per_process: 1,
  };
  expect(launchOf(none, node)).toEqual(node);
});
