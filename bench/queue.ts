import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startEmbeddedRedis } from '../workers/queue/embedded.ts';
import { describeMachine } from './machine.ts';
import { openBench, type QueueBench } from './queue-side.ts';

/**
 * Workflows of six no-op steps, against raw BullMQ flows of the same shape (the same jobs with the same options, and
 * nothing else), in one run on one Redis:
 *
 *     npm run bench -- queue [--workflows 1000] [--starts 10000] [--concurrency 64] [--dir DIR] [--json]
 *
 * - in-process: everything that a worker does for a step (claim, records, hand-over), with a body in the worker itself
 * - warm: the same with processes that take one step after the other (task.attempts_per_process)
 * - fresh: the same with a process for each step, as in production; both after some steps that were not counted
 * - starting: record and queue, against FlowProducer.addBulk alone
 * - memory: what Redis holds for each workflow that waits
 *
 * REDIS_URL uses that Redis (with keys of its own, removed at the end); else one is started, without a file.
 */
const STEPS = 6;
const BULK = 50;

interface Figures {
  readonly raw_steps_per_second: number;
  readonly in_process_steps_per_second: number;
  readonly in_process_ratio: number;
  readonly warm_steps_per_second: number;
  readonly fresh_steps_per_second: number;
  readonly fresh_per_core: number;
  readonly raw_add_seconds: number;
  readonly start_seconds: number;
  readonly start_ratio: number;
  readonly redis_bytes_per_workflow: number;
  readonly raw_redis_bytes_per_flow: number;
}

const BOUNDS: Readonly<Record<string, { text: string; holds: (figures: Figures) => boolean }>> = {
  in_process: { text: 'in-process ≥ 0.5× raw', holds: (f) => f.in_process_ratio >= 0.5 },
  warm: { text: 'warm ≥ 1,000 steps/s', holds: (f) => f.warm_steps_per_second >= 1000 },
  fresh: { text: 'fresh ≥ 15 steps/s per core', holds: (f) => f.fresh_per_core >= 15 },
  start: { text: 'starting ≤ 2× addBulk', holds: (f) => f.start_ratio <= 2 },
  memory: { text: '≤ 4 KB of Redis per workflow', holds: (f) => f.redis_bytes_per_workflow <= 4096 },
};

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      workflows: { type: 'string', default: '1000' },
      starts: { type: 'string', default: '10000' },
      concurrency: { type: 'string', default: '64' },
      dir: { type: 'string', default: tmpdir() },
      json: { type: 'boolean', default: false },
    },
  });
  const folder = mkdtempSync(join(values.dir, 'bench-queue-'));
  const own = process.env.REDIS_URL
    ? null
    : await startEmbeddedRedis(join(folder, 'redis'), { persist: false });
  const url = own?.url ?? process.env.REDIS_URL ?? '';
  const machine = describeMachine(folder);
  const sizes = { workflows: Number(values.workflows), starts: Number(values.starts) };
  try {
    const figures = await measure(folder, url, sizes, Number(values.concurrency));
    const broken = Object.values(BOUNDS).filter(({ holds }) => !holds(figures));
    if (values.json) process.stdout.write(`${JSON.stringify({ machine, sizes, figures }, null, 2)}\n`);
    else {
      for (const [key, value] of Object.entries(machine))
        process.stdout.write(`${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}\n`);
      process.stdout.write(
        `${JSON.stringify(sizes)}, ${values.concurrency} at a time\n\n${describe(figures)}\n`,
      );
    }
    for (const { text } of broken) process.stderr.write(`bound not held: ${text}\n`);
    if (broken.length > 0) process.exitCode = 1;
  } finally {
    await own?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  folder: string,
  redis: string,
  sizes: { workflows: number; starts: number },
  concurrency: number,
): Promise<Figures> {
  const bench = (name: string, at_a_time = concurrency): Promise<QueueBench> =>
    openBench({
      folder: join(folder, name),
      redis,
      prefix: `bench-${process.pid}-${name}`,
      steps: STEPS,
      at_a_time,
    });
  const cores = availableParallelism();

  const raw = await using(bench('raw'), async (side) => {
    await side.addRaw(sizes.workflows, BULK);
    return (sizes.workflows * STEPS) / (await side.runRaw(sizes.workflows));
  });
  const inProcess = await using(bench('in-process'), async (side) => {
    await side.start(sizes.workflows);
    return (sizes.workflows * STEPS) / (await side.run('in-process', sizes.workflows));
  });
  const few = 2 * cores;
  /** As a fleet is after its first minute: compiled code is kept, and that of its task has been brought together. */
  const usual = async (side: QueueBench): Promise<void> => {
    await side.start(few);
    await side.run('fresh', few);
    await side.compiled();
  };
  const warm = await using(bench('warm', 4 * cores), async (side) => {
    await usual(side);
    // One for each slot, so that the processes are warm when the time begins.
    const before = few + 4 * cores;
    await side.start(4 * cores);
    await side.run('warm', before);
    await side.start(sizes.workflows);
    return (sizes.workflows * STEPS) / (await side.run('warm', before + sizes.workflows));
  });
  const some = Math.max(few, Math.round(sizes.workflows / 20));
  const fresh = await using(bench('fresh', 2 * cores), async (side) => {
    await usual(side);
    await side.start(some);
    return (some * STEPS) / (await side.run('fresh', few + some));
  });
  const filled = async (side: QueueBench, fill: () => Promise<number>) => {
    const before = await side.memory();
    const seconds = await fill();
    return { seconds, bytes: ((await side.memory()) - before) / sizes.starts };
  };
  const added = await using(bench('add'), (side) => filled(side, () => side.addRaw(sizes.starts, BULK)));
  const started = await using(bench('start'), (side) => filled(side, () => side.start(sizes.starts)));
  return {
    raw_steps_per_second: raw,
    in_process_steps_per_second: inProcess,
    in_process_ratio: inProcess / raw,
    warm_steps_per_second: warm,
    fresh_steps_per_second: fresh,
    fresh_per_core: fresh / cores,
    raw_add_seconds: added.seconds,
    start_seconds: started.seconds,
    start_ratio: started.seconds / added.seconds,
    redis_bytes_per_workflow: started.bytes,
    raw_redis_bytes_per_flow: added.bytes,
  };
}

async function using<T>(opening: Promise<QueueBench>, body: (side: QueueBench) => Promise<T>): Promise<T> {
  const side = await opening;
  try {
    return await body(side);
  } finally {
    await side.close();
  }
}

function describe(f: Figures): string {
  const rate = (value: number): string => `${value.toFixed(value < 100 ? 1 : 0).padStart(7)} steps/s`;
  return [
    `raw BullMQ flows    ${rate(f.raw_steps_per_second)}`,
    `in-process          ${rate(f.in_process_steps_per_second)}   ${f.in_process_ratio.toFixed(2)} of raw`,
    `a warm process      ${rate(f.warm_steps_per_second)}`,
    `a process per step  ${rate(f.fresh_steps_per_second)}   ${f.fresh_per_core.toFixed(1)} per core`,
    `starting            ${f.start_seconds.toFixed(1)} s, addBulk alone ${f.raw_add_seconds.toFixed(1)} s   ratio ${f.start_ratio.toFixed(2)}`,
    `Redis               ${Math.round(f.redis_bytes_per_workflow)} bytes per waiting workflow of ${STEPS} steps, a raw flow ${Math.round(f.raw_redis_bytes_per_flow)}`,
  ].join('\n');
}
