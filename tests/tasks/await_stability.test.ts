import { mkdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isPostponement, type Postponement } from '../../workers/tasks/contract.ts';
import { until } from '../support/until.ts';
import { type Landing, makeLanding, type RunOptions } from './landing.ts';

const strict = { kwargs: { recency_threshold: 3600, wait_seconds: 60 } };

async function postponed(landing: Landing, options: RunOptions): Promise<Postponement['postpone']> {
  const answer = await landing.run('await_stability', options);
  if (!isPostponement(answer)) throw new Error(`not postponed: ${JSON.stringify(answer)}`);
  return answer.postpone;
}

test('a tree that changed lately is postponed, tells when it changed and how long it must rest, and holds nothing', async () => {
  const landing = await makeLanding({ 'deep/er/a': 'x' });
  const { until: again, progress, reason } = await postponed(landing, strict);
  expect(reason).toMatch(/^last changed at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ; stable after 3600 s without/);
  const seconds = (again.getTime() - Date.now()) / 1000;
  expect(seconds).toBeGreaterThan(50);
  expect(seconds).toBeLessThanOrEqual(60);
  expect(progress).toEqual({
    name: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+$/),
    time_remaining_sec: expect.closeTo(3600, -2),
  });
  expect(await landing.states()).toEqual(['REGISTERED']);
});

test('it looks again as soon as the tree could be stable, not a whole wait later', async () => {
  const landing = await makeLanding({ a: 'x' });
  const { until: again } = await postponed(landing, { kwargs: { recency_threshold: 5, wait_seconds: 600 } });
  expect(again.getTime() - Date.now()).toBeLessThanOrEqual(5_011);
});

test('an old modification time does not help a file that was put there just now', async () => {
  const landing = await makeLanding({ a: 'x' });
  const file = join(landing.origin, 'a');
  utimesSync(file, 1_000_000_000, 1_000_000_000);
  await postponed(landing, strict);
});

test('a change deep in the tree starts the wait anew; at rest the dataset becomes READY, once', async () => {
  const landing = await makeLanding({ a: 'x' });
  const short = { kwargs: { recency_threshold: 0.5, wait_seconds: 1 } };
  mkdirSync(join(landing.origin, 'b/c'), { recursive: true });
  writeFileSync(join(landing.origin, 'b/c/d'), 'y');
  await postponed(landing, short);
  const answer = await until(async () => {
    const now = await landing.run('await_stability', short);
    return isPostponement(now) ? null : now;
  });
  expect(answer).toEqual([landing.id]);
  await landing.run('await_stability', { ...short, task_id: 'again', workflow_id: 'workflow-2' });
  expect(await landing.states()).toEqual(['REGISTERED', 'READY']);
});

test('0 and absent kwargs mean the configured times', async () => {
  const landing = await makeLanding(
    { a: 'x' },
    {
      config: { registration: { recency_threshold_seconds: 1000, wait_between_stability_checks_seconds: 7 } },
    },
  );
  const { until: again } = await postponed(landing, { kwargs: { recency_threshold: 0, wait_seconds: null } });
  expect((again.getTime() - Date.now()) / 1000).toBeCloseTo(7, 0);
});

test('a missing origin is never taken for a stable one', async () => {
  const landing = await makeLanding({}, { origin: '/no/such/origin' });
  expect(await landing.fails('await_stability')).toMatchObject({
    code: 'E_ORIGIN_MISSING',
    class: 'operator',
  });
  expect(await landing.states()).toEqual(['REGISTERED']);
});

test('a name that no bundle can have fails at once', async () => {
  const landing = await makeLanding({ a: 'x' }, { name: 'n'.repeat(255) });
  expect(await landing.fails('await_stability')).toMatchObject({ code: 'E_NAME_UNSAFE' });
});

test('a worker that lost its job does not declare the dataset ready', async () => {
  const landing = await makeLanding({ a: 'x' });
  const lost = new Error('lost');
  const late = landing.run('await_stability', {
    kwargs: { recency_threshold: 0.000_001 },
    lease: () => {
      throw lost;
    },
  });
  await expect(late).rejects.toBe(lost);
  expect(await landing.states()).toEqual(['REGISTERED']);
});
