import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FlowJob, FlowProducer, Worker } from 'bullmq';
import { type Config, loadConfig } from '../config/index.ts';
import type { TaskChild } from '../workers/fleet/isolation/child.ts';
import { createProcessor, type Processor } from '../workers/fleet/job/processor.ts';
import { openSlots } from '../workers/fleet/slots.ts';
import type { TaskProcesses } from '../workers/fleet/isolation/task-processes.ts';
import { createLogger } from '../workers/log.ts';
import { type JobData, jobId } from '../workers/queue/jobs.ts';
import type { WorkflowDocument, WorkflowQuery } from '../workers/records/contract.ts';
import { openQueueSide } from '../workers/queue/side.ts';
import { openStore } from '../workers/store.ts';
import { buildWorkflow, defaultQueue } from '../workers/workflows/definition.ts';
import { createEngine } from '../workers/workflows/engine.ts';

/** One measurement: a store, a key prefix and a queue of its own. All times are seconds. */
export interface QueueBench {
  /** Flows by FlowProducer.addBulk, and nothing else. */
  addRaw(workflows: number, bulk: number): Promise<number>;
  runRaw(workflows: number): Promise<number>;
  /** Workflows by the engine. */
  start(workflows: number): Promise<number>;
  /** Until the code of its task has been brought together, which its worker began after some starts. */
  compiled(): Promise<void>;
  /**
   * One worker after the other may be run; its warm processes stay from one to the next.
   * @param workflows until the records say that so many have succeeded
   */
  run(how: 'in-process' | 'warm' | 'fresh', workflows: number): Promise<number>;
  list(query: WorkflowQuery): Promise<unknown>;
  counts(): Promise<unknown>;
  /** Bytes that Redis uses. */
  memory(): Promise<number>;
  close(): Promise<void>;
}

interface Options {
  readonly folder: string;
  readonly redis: string;
  readonly prefix: string;
  readonly steps: number;
  readonly at_a_time: number;
}

const STARTS_AT_A_TIME = 64;
/** A look takes 0.2 ms; what is waited for in vain counts as time of the steps. */
const LOOK_MS = 20;
const IN_A_ROW = 5_000;

export async function openBench({ folder, redis, prefix, steps, at_a_time }: Options): Promise<QueueBench> {
  mkdirSync(folder, { recursive: true });
  const config = await configOf(folder, redis, prefix, at_a_time);
  const log = createLogger('bench', {}, { level: 'error', to: 2 });
  const store = await openStore(config);
  const side = await openQueueSide(config, { log, wait_seconds: 10, name: prefix });
  const engine = await createEngine({ config, store, log, queue_side: side });
  const queue = defaultQueue(config);
  const shape = {
    name: 'noop',
    steps: Array.from({ length: steps }, (_, index) => ({ name: `step ${index}`, task: 'noop' })),
  };
  const processors = new Map<string, Processor>();
  const processorOf = (how: 'in-process' | 'warm' | 'fresh', name: string): Processor => {
    const known = processors.get(how);
    if (known !== undefined) return known;
    const parts = { config, store, side, log, name, host: 'bench' };
    const warm = { ...config, task: { ...config.task, attempts_per_process: 1_000_000 } };
    const made = createProcessor(
      how === 'warm' ? { ...parts, config: warm } : parts,
      how === 'in-process' ? inProcess : undefined,
    );
    processors.set(how, made);
    return made;
  };
  const options = (dataset_id: number) => ({ dataset_id, initiator: 'bench', alongside: true });
  return {
    addRaw: (workflows, bulk) => {
      const flows = Array.from({ length: workflows }, (_, index) =>
        flowOf(buildWorkflow(config, shape, options(index + 1))),
      );
      const producer = new FlowProducer({ connection: side.redis, prefix });
      return timed(async () => {
        for (let at = 0; at < flows.length; at += bulk) await producer.addBulk(flows.slice(at, at + bulk));
      });
    },
    runRaw: (workflows) =>
      timed(async () => {
        let done = 0;
        const all = Promise.withResolvers<void>();
        const worker = new Worker<JobData>(
          queue,
          async ({ data }) => {
            done += 1;
            if (done === workflows * steps) all.resolve();
            return data.index;
          },
          { connection: side.redis, prefix, concurrency: at_a_time },
        );
        await all.promise;
        await worker.close();
      }),
    start: (workflows) =>
      timed(async () => {
        let next = 1;
        const starter = async (): Promise<void> => {
          while (next <= workflows) {
            next += 1;
            await engine.start(shape, options(next - 1));
          }
        };
        await Promise.all(Array.from({ length: STARTS_AT_A_TIME }, starter));
      }),
    run: async (how, workflows) => {
      const name = `bench-worker:${randomUUID()}`;
      const processor = processorOf(how, name);
      processor.refuse(false);
      const seconds = timed(async () => {
        const slots = openSlots({ config, side, processor, log, name, queue });
        slots.begin();
        while ((await engine.counts()).SUCCESS < workflows) await sleep(LOOK_MS);
        await slots.stopTaking();
        await slots.close();
      });
      return seconds;
    },
    compiled: async () => {
      const place = join(process.env.NODE_COMPILE_CACHE ?? join(config.state_dir, 'cache', 'node'), 'tasks');
      while (!(existsSync(place) && readdirSync(place).some((name) => /^noop-\w+$/.test(name))))
        await sleep(100);
    },
    list: (query) => engine.list(query, { last_task_run: true }),
    counts: () => engine.counts(),
    memory: async () => Number(/used_memory:(\d+)/.exec(await side.redis.info('memory'))?.[1]),
    close: async () => {
      for (let keys = await keysOf(); keys.length > 0; keys = await keysOf())
        await side.redis.unlink(...keys);
      await engine.close();
      await side.close();
      await store.close();
    },
  };

  async function keysOf(): Promise<string[]> {
    for (let cursor = '0'; ; ) {
      const [next, keys] = await side.redis.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', IN_A_ROW);
      if (keys.length > 0 || next === '0') return keys;
      cursor = next;
    }
  }
}

/** A flow has its last step as the root, and each step waits for the one before it. */
function flowOf({ id, steps }: WorkflowDocument): FlowJob {
  const [first, ...rest] = steps.map(
    ({ task, queue }, index): FlowJob => ({
      name: task,
      queueName: queue,
      data: { workflow_id: id, index } satisfies JobData,
      opts: { jobId: jobId(id, index), priority: 1, attempts: 1, removeOnComplete: true },
    }),
  );
  if (first === undefined) throw new Error('a workflow has steps');
  return rest.reduce((child, parent) => ({ ...parent, children: [child] }), first);
}

async function timed(body: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1000;
}

/** Nothing to start and nothing to end: what is left is the cost of the engine itself. */
const inProcess: TaskProcesses = {
  waiting: () => ({
    pid: process.pid,
    code: null,
    start: bodyHere,
    putBack: () => undefined,
  }),
  start: bodyHere,
};

function bodyHere(): TaskChild {
  const ended = Promise.withResolvers<Awaited<TaskChild['ended']>>();
  return {
    pid: process.pid,
    loaded: Promise.resolve({ code: null, limits: {}, retry: {} }),
    ended: ended.promise,
    start: ({ dataset_id }) => ended.resolve({ kind: 'result', result: [dataset_id] }),
    warn: () => undefined,
    stop: async () => undefined,
  };
}

async function configOf(folder: string, redis: string, prefix: string, at_a_time: number): Promise<Config> {
  const overrides = {
    queue: { prefix, lock_seconds: 60 },
    autoscale: { min: at_a_time, max: at_a_time },
    reload: { watch: 'off' },
    schedules: [],
  };
  const values = {
    APP_ENV: 'local',
    LONGSHORE_DOTENV: 'none',
    LONGSHORE_HOME: folder,
    REDIS_URL: redis,
    LONGSHORE_OVERRIDES: JSON.stringify(overrides),
  };
  // Task processes read the same.
  Object.assign(process.env, values, {
    LONGSHORE_TASKS_PATH: join(import.meta.dirname, 'tasks'),
    LOG_LEVEL: 'error',
  });
  return (await loadConfig({ environment: { values, file: null, fromFile: new Set() } })).config;
}
