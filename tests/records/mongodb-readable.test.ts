import { expect, test } from 'vitest';
import type { WorkflowRecord } from '../../workers/records/mongodb/documents.ts';
import { readable } from '../../workers/records/mongodb/readable.ts';

test('what is no workflow is left out of every page, and told once: it is met every few seconds for ever', async () => {
  const told: string[] = [];
  const tell = async (record: WorkflowRecord): Promise<void> => void told.push(record._id);
  const good: WorkflowRecord = { _id: 'good', steps: [{ name: 'one', task: 'first' }] };
  const bad = { _id: 'bad', steps: 'none' } as unknown as WorkflowRecord;
  const worse = { _id: 'worse', steps: [{ task: 'first' }] } as unknown as WorkflowRecord;
  for (let look = 0; look < 3; look += 1)
    expect((await readable([bad, good, worse], tell)).map(({ _id }) => _id)).toEqual(['good']);
  expect(told).toEqual(['bad', 'worse']);
});
