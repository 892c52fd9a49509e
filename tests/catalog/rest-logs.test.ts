import { expect, onTestFinished, test } from 'vitest';
import type { RestCatalog } from '../../workers/catalog/rest/catalog.ts';
import { tellProcess } from '../../workers/catalog/rest/logs.ts';
import { LongshoreError } from '../../workers/errors.ts';
import type { LogLine } from '../../workers/records/contract.ts';
import { openStore, type Store } from '../../workers/store.ts';
import { createLogger } from '../../workers/log.ts';
import { runTool } from '../../workers/tools/run.ts';
import { makeWorkflow } from '../records/fixture.ts';
import { type BioloopApi, startBioloopApi } from '../support/bioloop-api.ts';
import { makePlace } from '../support/place.ts';
import { restOverrides } from '../support/rest-place.ts';
import { until } from '../support/until.ts';

async function begin(more: Record<string, unknown> = {}): Promise<{ double: BioloopApi } & Store> {
  const double = await startBioloopApi();
  const place = await makePlace(restOverrides(double, more));
  const store = await openStore(place.config);
  onTestFinished(() => store.close());
  return { double, ...store };
}

const processOf = (workflow_id: string | null) => ({
  workflow_id,
  step: 'qc',
  task_id: crypto.randomUUID(),
  pid: 7,
  hostname: 'node-1',
  start_time: new Date().toISOString(),
  tags: { args: ['fastqc', '-t 8'] },
});

const line = (message: string, level: LogLine['level'] = 'stdout'): LogLine => ({
  timestamp: '2026-01-01T00:00:00.000Z',
  level,
  message,
});

/** What the API has of the only process, when everything was told. */
async function told({ double, catalog }: { double: BioloopApi; catalog: Store['catalog'] }) {
  await until(async () => (await (catalog as RestCatalog).spool.waiting()) === 0, {
    what: 'the spool to be empty',
  });
  expect(double.store.logs.size).toBe(1);
  return [...double.store.logs.values()][0] ?? [];
}

test('lines of a program reach the API in their order and levels, with their process', async () => {
  const bench = await begin();
  const workflow = makeWorkflow({});
  bench.double.store.workflows.set(workflow.id, { id: workflow.id, dataset_id: null, initiator_id: 1 });
  await bench.records.createWorkflow(workflow);
  const registered = processOf(workflow.id);
  const id = await bench.records.registerProcess(registered);
  await bench.records.appendLogs(id, [line('one'), line('two', 'stderr')]);
  await bench.records.appendLogs(id, [line('three')]);
  expect((await told(bench)).map(({ level, message }) => [level, message])).toEqual([
    ['stdout', 'one\n'],
    ['stderr', 'two\n'],
    ['stdout', 'three\n'],
  ]);
  expect([...bench.double.store.processes.values()]).toMatchObject([registered]);
});

test('empty lines, NUL and half characters keep no other line away; a line that is refused only itself', async () => {
  const bench = await begin();
  const id = await bench.records.registerProcess(processOf(null));
  await bench.records.appendLogs(id, [line('a'), line(''), line('n\0l'), line('half \ud800'), line('z')]);
  expect((await told(bench)).map(({ message }) => message)).toEqual([
    'a\n',
    '\n',
    'n�l\n',
    'half �\n',
    'z\n',
  ]);
  // An older server may refuse what this one takes: the array is halved until the line is alone.
  bench.double.fail('POST workflows/processes/:id/logs', { kind: 'status', status: 400 }, 3);
  await bench.records.appendLogs(id, [line('refused'), line('b'), line('c'), line('d')]);
  expect((await told(bench)).map(({ message }) => message).slice(5)).toEqual(['b\n', 'c\n', 'd\n']);
});

test('10,000 lines go in bounded arrays, and an API that is away loses none of them', async () => {
  const bench = await begin();
  bench.double.fail('', { kind: 'status', status: 503 });
  const script = 'i=0; while [ $i -lt 5000 ]; do echo "line $i"; echo "also $i" >&2; i=$((i+1)); done';
  await runTool({
    command: 'sh',
    args: ['-c', script],
    options: {},
    signal: new AbortController().signal,
    sink: {
      open: ({ pid, start_time }) => bench.records.registerProcess({ ...processOf(null), pid, start_time }),
      append: (id, lines) => bench.records.appendLogs(id, lines),
    },
    onLoss: (lines) => createLogger('test').error({ lines }, 'lost'),
    kill_grace_seconds: 1,
  });
  expect(bench.double.store.logs.size).toBe(0);
  bench.double.heal();
  const lines = await told(bench);
  for (const [level, word] of [
    ['stdout', 'line'],
    ['stderr', 'also'],
  ])
    expect(lines.filter((one) => one.level === level).map(({ message }) => message)).toEqual(
      Array.from({ length: 5_000 }, (_, n) => `${word} ${n}\n`),
    );
  const posts = bench.double
    .called('POST workflows/processes/:id/logs')
    .map(({ body }) => (body as unknown[]).length);
  expect(Math.max(...posts)).toBeLessThanOrEqual(1000);
});

test('long lines go in arrays that the API reads', async () => {
  const bench = await begin();
  const id = await bench.records.registerProcess(processOf(null));
  await bench.records.appendLogs(
    id,
    Array.from({ length: 4 }, (_, n) => line(String(n).repeat(1_000_000))),
  );
  expect((await told(bench)).map(({ message }) => message.charAt(0))).toEqual(['0', '1', '2', '3']);
  const posts = bench.double.called('POST workflows/processes/:id/logs');
  expect(posts.map(({ body }) => (body as unknown[]).length)).toEqual([2, 2]);
});

test('a process whose workflow the API does not know yet waits for it', async () => {
  const bench = await begin({ delay_scale: 0.01 });
  const workflow = makeWorkflow({});
  await bench.records.createWorkflow(workflow);
  const id = await bench.records.registerProcess(processOf(workflow.id));
  await bench.records.appendLogs(id, [line('x')]);
  await until(() => bench.double.called('POST workflows/processes').length > 1);
  bench.double.store.workflows.set(workflow.id, { id: workflow.id, dataset_id: null, initiator_id: 1 });
  expect(await told(bench)).toHaveLength(1);
  expect([...bench.double.store.processes.values()][0]).toMatchObject({
    workflow_id: workflow.id,
  });
});

test('that it waits is not called a failure of the API that its log would explain', async () => {
  const createProcess = () => Promise.reject(new LongshoreError('E_API_CONFLICT', 'no such workflow'));
  const created_at = new Date().toISOString();
  const tell = (workflow_id: string | null) => {
    const entry = { body: { id: 1, process: processOf(workflow_id) }, created_at };
    return tellProcess({ api: { createProcess }, scale: 1 } as never, entry as never);
  };
  await expect(tell(crypto.randomUUID())).rejects.toMatchObject({
    code: 'E_API_FAILED',
    hint: expect.stringContaining('nothing is to be done'),
  });
  // Of one that names no workflow it is another conflict.
  await expect(tell(null)).rejects.toMatchObject({ code: 'E_API_CONFLICT' });
});
