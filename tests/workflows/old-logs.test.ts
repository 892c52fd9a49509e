import { expect, test } from 'vitest';
import type { Records } from '../../workers/records/contract.ts';
import { forgetOldLogs } from '../../workers/workflows/old-logs.ts';
import { makeFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const DAY_MS = 86_400_000;
const daysAgo = (days: number): string => new Date(Date.now() - days * DAY_MS).toISOString();

async function printed(records: Records, task_id: string, start_time: string): Promise<void> {
  const process = { workflow_id: 'wf', step: 'qc', task_id, pid: 4, hostname: 'node-1', start_time };
  const id = await records.registerProcess({ ...process, tags: { args: ['fastqc'] } });
  await records.appendLogs(id, [{ timestamp: start_time, level: 'stdout', message: task_id }]);
}

const left = async (records: Records): Promise<string[]> =>
  (await records.logs({ workflow_id: 'wf' })).map(({ message }) => message);

test('a worker removes what programs have printed when it is older than is kept', async () => {
  const fleet = await makeFleet({ records: { keep_log_days: 10 } });
  const { store } = fleet;
  await printed(store.records, 'old', daysAgo(11));
  await printed(store.records, 'young', daysAgo(9));
  await fleet.worker();
  await until(async () => (await left(store.records)).join() === 'young', { what: 'old lines to be gone' });
});

test('where lines are kept for ever, none goes', async () => {
  const { store } = await makeFleet();
  await printed(store.records, 'old', daysAgo(10_000));
  await forgetOldLogs({ records: { backend: 'sqlite', keep_log_days: null } }, store.records);
  expect(await left(store.records)).toEqual(['old']);
});
