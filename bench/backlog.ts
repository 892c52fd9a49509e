import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startEmbeddedRedis } from '../workers/queue/embedded.ts';
import { describeMachine } from './machine.ts';
import { openBench, type QueueBench } from './queue-side.ts';

/**
 * A backlog of workflows that wait: started, listed and worked off in ten parts, each timed, to see whether it slows with
 * its depth. The bodies do nothing and run in the worker itself, so what is measured is the engine.
 *
 *     npm run bench -- backlog [--workflows 100000] [--steps 1] [--concurrency 64] [--dir DIR] [--json]
 *
 * What is judged is processor time, of this process and without Redis: the clock of a shared machine says more about its
 * neighbours than about depth. It fails when starting or a step takes more than half as much again at the deep end as at
 * the shallow one, and when a list takes 50 ms.
 */
const PARTS = 10;
const LISTS = 20;
const SLOWER = 1.5;
const LIST_MS = 50;

interface Part {
  /** Workflows that wait at the end of the part of starting, and at the beginning of that of draining. */
  readonly depth: number;
  readonly starts_per_second: number;
  readonly steps_per_second: number;
  /** Microseconds of processor. */
  readonly cpu_of_start: number;
  readonly cpu_of_step: number;
  /** Milliseconds, medians, at this depth. */
  readonly list_ms: number;
  readonly filtered_ms: number;
  readonly counts_ms: number;
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      workflows: { type: 'string', default: '100000' },
      steps: { type: 'string', default: '1' },
      concurrency: { type: 'string', default: '64' },
      dir: { type: 'string', default: tmpdir() },
      json: { type: 'boolean', default: false },
    },
  });
  const folder = mkdtempSync(join(values.dir, 'bench-backlog-'));
  const own = process.env.REDIS_URL
    ? null
    : await startEmbeddedRedis(join(folder, 'redis'), { persist: false });
  const machine = describeMachine(folder);
  const sizes = { workflows: Number(values.workflows), steps: Number(values.steps) };
  const side = await openBench({
    folder: join(folder, 'side'),
    redis: own?.url ?? process.env.REDIS_URL ?? '',
    prefix: `bench-${process.pid}-backlog`,
    steps: sizes.steps,
    at_a_time: Number(values.concurrency),
  });
  try {
    const parts = await measure(side, sizes);
    const broken = slowing(parts);
    if (values.json) process.stdout.write(`${JSON.stringify({ machine, sizes, parts, broken }, null, 2)}\n`);
    else {
      for (const [key, value] of Object.entries(machine))
        process.stdout.write(`${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}\n`);
      process.stdout.write(`${JSON.stringify(sizes)}\n\n${tableOf(parts)}\n`);
    }
    for (const line of broken) process.stderr.write(`slows with depth: ${line}\n`);
    if (broken.length > 0) process.exitCode = 1;
  } finally {
    await side.close();
    await own?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  side: QueueBench,
  { workflows, steps }: { workflows: number; steps: number },
): Promise<Part[]> {
  const each = Math.ceil(workflows / PARTS);
  const filling: Omit<Part, 'steps_per_second' | 'cpu_of_step'>[] = [];
  for (let part = 1; part <= PARTS; part += 1) {
    const { seconds, cpu } = await metered(() => side.start(each));
    const lists = {
      list_ms: await median(() => side.list({ limit: 20 })),
      filtered_ms: await median(() => side.list({ limit: 20, status: 'PENDING', skip: (part - 1) * each })),
      counts_ms: await median(() => side.counts()),
    };
    filling.push({
      depth: part * each,
      starts_per_second: each / seconds,
      cpu_of_start: cpu / each,
      ...lists,
    });
  }
  const draining: Pick<Part, 'steps_per_second' | 'cpu_of_step'>[] = [];
  for (let part = 1; part <= PARTS; part += 1) {
    const { seconds, cpu } = await metered(() => side.run('in-process', part * each));
    draining.unshift({ steps_per_second: (each * steps) / seconds, cpu_of_step: cpu / (each * steps) });
  }
  const none = { steps_per_second: Number.NaN, cpu_of_step: Number.NaN };
  return filling.map((filled, at) => ({ ...filled, ...(draining[at] ?? none) }));
}

/** `cpu` in microseconds. */
async function metered(body: () => Promise<number>): Promise<{ seconds: number; cpu: number }> {
  const before = process.cpuUsage();
  const seconds = await body();
  const { user, system } = process.cpuUsage(before);
  return { seconds, cpu: user + system };
}

async function median(body: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let turn = 0; turn < LISTS; turn += 1) {
    const start = performance.now();
    await body();
    times.push(performance.now() - start);
  }
  return middle(times);
}

function middle(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** The three parts of each end: the first thousand of anything still compiles. */
function slowing(parts: Part[]): string[] {
  const ratio = (key: 'cpu_of_start' | 'cpu_of_step'): number => {
    const shallow = middle(parts.slice(0, 3).map((part) => part[key]));
    const deep = middle(parts.slice(-3).map((part) => part[key]));
    return Math.max(deep / shallow, shallow / deep);
  };
  const [starting, draining] = [ratio('cpu_of_start'), ratio('cpu_of_step')];
  const list = parts.at(-1)?.list_ms ?? Number.NaN;
  return [
    ...(starting > SLOWER ? [`starting, ${starting.toFixed(1)} times`] : []),
    ...(draining > SLOWER ? [`draining, ${draining.toFixed(1)} times`] : []),
    ...(list > LIST_MS ? [`a list, ${list.toFixed(0)} ms`] : []),
  ];
}

function tableOf(parts: Part[]): string {
  const columns: [string, (part: Part) => string][] = [
    ['waiting', ({ depth }) => String(depth)],
    ['starts/s', (part) => part.starts_per_second.toFixed(0)],
    ['cpu µs', (part) => part.cpu_of_start.toFixed(0)],
    ['steps/s', (part) => part.steps_per_second.toFixed(0)],
    ['cpu µs', (part) => part.cpu_of_step.toFixed(0)],
    ['list ms', (part) => part.list_ms.toFixed(1)],
    ['its last page', (part) => part.filtered_ms.toFixed(1)],
    ['counts ms', (part) => part.counts_ms.toFixed(1)],
  ];
  const width = (name: string): number => Math.max(name.length, 7) + 2;
  return [
    columns.map(([name]) => name.padStart(width(name))).join(''),
    ...parts.map((part) => columns.map(([name, of]) => of(part).padStart(width(name))).join('')),
  ].join('\n');
}
