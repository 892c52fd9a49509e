import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createLogger } from '../../workers/log.ts';
import type { Dataset, DatasetStateName } from '../../workers/dataset/types.ts';
import type { TaskContext } from '../../workers/tasks/contract.ts';
import { stagedMeanwhile, turnTaken } from '../../workers/tasks/dataset-turn.ts';
import { makeLanding } from './landing.ts';

const run = {
  workflow_id: 'mine',
  step: 'stage',
  task_id: 't',
  attempt: 2,
  retries_left: 0,
  date_start: at(10),
};

function at(second: number): string {
  return new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();
}

const state = (name: DatasetStateName, second: number, workflow_id = 'other') => ({
  state: name,
  timestamp: at(second),
  metadata: { workflow_id },
});

/** Names, inodes, sizes and times. */
const treeOf = (folder: string): string =>
  execFileSync('find', [folder, '-printf', '%p %i %s %T@\\n'], { encoding: 'utf8' })
    .split('\n')
    .sort()
    .join('\n');

const meanwhile = (states: ReturnType<typeof state>[], staged_path: string | null = '/staged/x'): boolean =>
  stagedMeanwhile({ run } as TaskContext, { states, staged_path } as unknown as Dataset);

test('one task of the fleet at a time has the turn of a dataset', async () => {
  const held = new Set<string>();
  const context = (dataset_id: number) =>
    ({
      dataset_id,
      log: createLogger('test', {}, { level: 'silent' }),
      permit: async (resource: string, limit: number) => {
        if (held.size >= limit && held.has(resource)) return false;
        held.add(resource);
        return true;
      },
    }) as unknown as TaskContext;
  expect(await turnTaken(context(1))).toBeNull();
  expect(await turnTaken(context(1))).toMatchObject({ postpone: { until: expect.any(Date) } });
  expect(await turnTaken(context(2))).toBeNull();
});

test.each(['archive_dataset', 'stage_dataset', 'delete_source', 'purge_dataset', 'delete_dataset'])(
  '%s waits, and touches nothing, while another task works on the copies of its dataset',
  async (task) => {
    const landing = await makeLanding({ 'a.txt': 'alpha' });
    await landing.upTo('setup_dataset_download');
    writeFileSync(join(landing.origin, 'late.txt'), 'late');
    const before = treeOf(landing.place.path('data'));
    const asked: string[] = [];
    const permit = (resource: string): boolean => asked.push(resource) === 0;
    expect(await landing.run(task, { permit, workflow_id: 'other' })).toMatchObject({
      postpone: { until: expect.any(Date) },
    });
    expect(asked).toEqual([`dataset:${landing.id}:copies`]);
    expect(treeOf(landing.place.path('data'))).toBe(before);
  },
);

test('a bundle that another workflow brought back while this one waited is not read again', () => {
  expect(meanwhile([state('STAGED', 12), state('FETCHED', 11), state('ARCHIVED', 1)])).toBe(true);
  expect(meanwhile([state('FETCHED', 9)])).toBe(false); // Before it was asked for.
  expect(meanwhile([state('FETCHED', 11, 'mine')])).toBe(false); // Our own, of an attempt that was killed.
  expect(meanwhile([state('PURGED', 12), state('FETCHED', 11)])).toBe(false);
  expect(meanwhile([state('ARCHIVED', 12), state('FETCHED', 11)])).toBe(false); // Of another bundle.
  expect(meanwhile([state('FETCHED', 11)], null)).toBe(false);
  expect(meanwhile([])).toBe(false);
});
