import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import type { Config } from '../../config/index.ts';
import type { ErrorReport } from '../../workers/errors.ts';
import type { ClaimVerdict, Records, TaskRun, WorkflowDocument } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import { makePlace, type Place } from '../support/place.ts';

import { makeWorkflow } from './workflow.ts';

export { makeWorkflow };

/** How a battery opens the back end under test; each call is another connection to the same records. */
export interface OpenStore {
  (config: Config): Promise<Store>;
  /** Where it is opened, if that is not the usual place. */
  place?: () => Promise<Place>;
  /** True for a server that reads all of a collection to find a few: repetitions are fewer, and no million of anything. */
  slow?: boolean;
}

/** How often something is repeated; `fraction` of it on a slow server. */
export const times = (open: OpenStore, count: number, fraction = 0.1): number =>
  open.slow === true ? Math.ceil(count * fraction) : count;

export interface Bench extends Store {
  readonly place: Place;
  /** One more connection. */
  readonly again: () => Promise<Store>;
}

/** A place of its own with the store open; everything is closed when the test ends. */
export async function openBench(open: OpenStore): Promise<Bench> {
  const place = await (open.place ?? makePlace)();
  const again = async (): Promise<Store> => {
    const store = await open(place.config);
    onTestFinished(() => store.close());
    return store;
  };
  return { ...(await again()), place, again };
}

export const failure: ErrorReport = {
  code: 'E_IO',
  class: 'retryable',
  message: 'read of /x failed',
  hint: 'look at the disk',
  fields: { path: '/x' },
  traceback: 'Error: read of /x failed\n    at here',
};

export const policy = { max_losses: 3 };

export const claimOf = (workflow: { id: string }, index = 0, worker = 'w1') => ({
  workflow_id: workflow.id,
  index,
  worker,
  host: 'node-1',
});

export type Running = Extract<ClaimVerdict, { verdict: 'run' }>;

/** Claims and insists on getting it. */
export async function begin(
  records: Records,
  workflow: { id: string },
  index = 0,
  worker = 'w1',
): Promise<Running> {
  const answer = await records.claim(claimOf(workflow, index, worker), policy);
  if (answer.verdict !== 'run') throw new Error(`expected to run, got ${JSON.stringify(answer)}`);
  return answer;
}

/** Runs steps `0 … count - 1` to success; each hands on its index. */
export async function succeed(records: Records, workflow: { id: string }, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    const { key } = await begin(records, workflow, index);
    await records.finish(key, { outcome: 'success', result: [index] });
  }
}

/** A workflow of three steps comes to its end, each step in one attempt that nobody lost. */
export async function runsOnce(records: Records): Promise<WorkflowDocument> {
  const workflow = makeWorkflow();
  await records.createWorkflow(workflow);
  for (const index of [0, 1, 2]) {
    const { key, run } = await begin(records, workflow, index);
    expect([key.number, run.losses]).toEqual([1, 0]);
    expect(await records.finish(key, { outcome: 'success', result: [index] })).not.toBeNull();
  }
  expect((await records.workflow(workflow.id))?._status).toBe('SUCCESS');
  return workflow;
}

/** Last run of each step, and the cached status of the workflow. */
export async function look(
  records: Records,
  id: string,
): Promise<{ status: WorkflowDocument['_status']; workflow: WorkflowDocument; runs: (TaskRun | null)[] }> {
  const found = await records.workflowWithRuns(id);
  if (found === null) throw new Error(`workflow ${id} is gone`);
  return { status: found.workflow._status, workflow: found.workflow, runs: found.last_runs };
}

/** A process that kept everything it has seen would die of it. */
const SMALL_HEAP = '--max-old-space-size=64';

/** Starts tests/records/process.ts; what it prints, line by line, as JSON. Killed when the test ends. */
export function startProcess(
  place: Place,
  ...args: string[]
): { child: ChildProcess; lines: unknown[]; ended: Promise<number | null> } {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'process.ts'), ...args], {
    env: { ...process.env, ...place.env, NODE_OPTIONS: SMALL_HEAP },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: unknown[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts.map((line) => JSON.parse(line) as unknown));
  });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return { child, lines, ended };
}
