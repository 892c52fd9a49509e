/** What is made of single entries of the spool, with an API that is only a function or two. */
import { expect, onTestFinished, test } from 'vitest';
import type { BioloopApi } from '../../workers/bioloop/endpoints.ts';
import { tellLink } from '../../workers/catalog/rest/links.ts';
import { logTelling, tellLines, tellProcess } from '../../workers/catalog/rest/logs.ts';
import { openSpool, type SpoolEntry } from '../../workers/catalog/rest/spool.ts';
import { type ErrorCode, LongshoreError } from '../../workers/errors.ts';
import { createLogger } from '../../workers/log.ts';
import type { LogLine } from '../../workers/records/contract.ts';
import { makePlace } from '../support/place.ts';

const entryOf = (body: Record<string, unknown>, age_ms = 0): SpoolEntry => ({
  id: 1,
  lane: 'a',
  kind: 'any',
  body,
  attempts: 0,
  created_at: new Date(Date.now() - age_ms).toISOString(),
  due_at: 0,
});

const refuse = (code: ErrorCode) => () => Promise.reject(new LongshoreError(code, 'no'));

const apiOf = (endpoints: Partial<BioloopApi>): BioloopApi => endpoints as BioloopApi;

/** @param has workflows that the API has already */
async function link(has: readonly string[], { recorded = true, age_ms = 0, late = true } = {}) {
  const linked: string[] = [];
  const api = apiOf({
    linkWorkflow: (_, workflow_id, { doubtful } = {}) => {
      // The API may have started it itself.
      expect(doubtful).toBe(late);
      if (has.length > 0) return refuse('E_API_CONFLICT')();
      linked.push(workflow_id);
      return Promise.resolve({} as never);
    },
    getDataset: () => Promise.resolve({ workflows: has.map((id) => ({ id })) } as never),
  });
  const entry = entryOf({ id: 7, workflow_id: 'wf', late }, age_ms);
  const answer = await tellLink({ api, isRecorded: async () => recorded, scale: 1 }, entry, false);
  return { linked, answer };
}

test('a link waits for the workflow to be recorded, ten minutes, and is dropped then', async () => {
  expect((await link([])).linked).toEqual(['wf']);
  for (const age_ms of [0, 9 * 60_000])
    await expect(link([], { recorded: false, age_ms })).rejects.toMatchObject({ code: 'E_API_FAILED' });
  expect(await link([], { recorded: false, age_ms: 11 * 60_000 })).toEqual({ linked: [], answer: null });
  // It was registered with its dataset.
  expect((await link([], { recorded: false, late: false })).linked).toEqual(['wf']);
});

test('a conflict is what was wanted where the API has this very link, and an error else', async () => {
  expect(await link(['other', 'wf'])).toEqual({ linked: [], answer: null });
  await expect(link(['other'])).rejects.toMatchObject({ code: 'E_API_CONFLICT' });
});

const lineOf = (message: string): LogLine => ({
  timestamp: '2026-01-01T00:00:00.000Z',
  level: 'stdout',
  message,
});

async function makeSpool() {
  const spool = await openSpool((await makePlace()).path('spool.db'));
  onTestFinished(() => spool.close());
  return spool;
}

test('a process waits for its workflow, two minutes, and is told without it then', async () => {
  const spool = await makeSpool();
  const told: unknown[] = [];
  const api = apiOf({
    createProcess: (process) => {
      if (process.workflow_id !== null) return refuse('E_API_CONFLICT')();
      told.push(process);
      return Promise.resolve({ id: 70 } as never);
    },
  });
  const process = { workflow_id: 'wf', step: 'qc', task_id: 't', pid: 4 };
  const tell = (age_ms: number) => tellProcess({ api, spool, scale: 1 }, entryOf({ id: 1, process }, age_ms));
  for (const age_ms of [0, 110_000])
    await expect(tell(age_ms)).rejects.toMatchObject({ code: 'E_API_FAILED' });
  expect([told, await spool.processOf(1)]).toEqual([[], null]);
  await tell(130_000);
  expect([told, await spool.processOf(1)]).toEqual([[{ ...process, workflow_id: null }], 70]);
});

test('only a line that the API refuses is left out; what it could not take now is told again, whole', async () => {
  const spool = await makeSpool();
  await spool.keepProcess(1, 70);
  const told: string[] = [];
  const log = createLogger('test', {}, { level: 'fatal' });
  const lines = ['a', 'bad', 'c', 'd', 'e'].map(lineOf);
  const tell = (addLogs: BioloopApi['addLogs']) =>
    tellLines({ api: apiOf({ addLogs }), spool, log }, entryOf({ id: 1, lines }));
  for (const code of ['E_API_FAILED', 'E_API_UNAVAILABLE'] as const)
    await expect(tell(refuse(code))).rejects.toMatchObject({ code });
  await tell((id, some) => {
    if (some.some(({ message }) => message === 'bad')) return refuse('E_API_REQUEST')();
    told.push(...some.map(({ message }) => `${id} ${message}`));
    return Promise.resolve({} as never);
  });
  expect(told).toEqual(['70 a', '70 c', '70 d', '70 e']);
  await expect(tellLines({ api: apiOf({}), spool, log }, entryOf({ id: 2, lines }))).rejects.toMatchObject({
    code: 'E_API_REQUEST',
  });
});

test('long lines go in entries of a bounded size, all of them in their order', async () => {
  const spool = await makeSpool();
  const lines = Array.from({ length: 10 }, (_, n) => lineOf(`${n}${'x'.repeat(1_500_000)}\n`));
  await logTelling(spool).lines(1, lines);
  const bodies = (await spool.bodiesOf('lines')) as { lines: LogLine[] }[];
  expect(bodies.flatMap((body) => body.lines)).toEqual(lines);
  for (const body of bodies) expect(JSON.stringify(body).length).toBeLessThan(8_000_000);
});
