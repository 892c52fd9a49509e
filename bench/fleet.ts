import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { canMakeHosts, HOSTS, makeNamespaces } from '../tests/support/namespaces.ts';
import { createLogger } from '../workers/log.ts';
import { embeddedRedisUrl } from '../workers/queue/embedded.ts';
import { openQueueSide } from '../workers/queue/side.ts';
import { openStore } from '../workers/store.ts';
import { defaultQueue } from '../workers/workflows/definition.ts';
import { createEngine } from '../workers/workflows/engine.ts';
import { type Ground, openGround } from './chaos/ground.ts';
import { describeMachine } from './machine.ts';

const WORKER = join(import.meta.dirname, '../workers/worker.ts');

/**
 * The same workflows of no-op steps by one to eight worker processes, as production starts them, each with a process for
 * each step:
 *
 *     npm run bench -- fleet [--workers 1,2,4,8] [--hosts 2] [--workflows 60] [--steps 6] [--slots 2] [--dir DIR] [--json]
 *
 * With two hosts there is a second row for each number of workers above one: half of them in each of two network
 * namespaces, which see Redis by different addresses (needs root). Each row has a Redis, records and workers of its own.
 * The queue is paused until all workers are there. `least` and `most` are the steps of the workers that had the fewest and
 * the most: nobody starves.
 */
interface Row {
  readonly hosts: number;
  readonly workers: number;
  readonly steps_per_second: number;
  /** Against the first row. */
  readonly ratio: number;
  readonly least: number;
  readonly most: number;
}

interface Sizes {
  readonly workflows: number;
  readonly steps: number;
  readonly slots: number;
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      workers: { type: 'string', default: '1,2,4,8' },
      hosts: { type: 'string', default: '1' },
      workflows: { type: 'string', default: '60' },
      steps: { type: 'string', default: '6' },
      slots: { type: 'string', default: '2' },
      dir: { type: 'string', default: tmpdir() },
      json: { type: 'boolean', default: false },
    },
  });
  const folder = mkdtempSync(join(values.dir, 'bench-fleet-'));
  const machine = describeMachine(folder);
  const sizes: Sizes = {
    workflows: Number(values.workflows),
    steps: Number(values.steps),
    slots: Number(values.slots),
  };
  const rows: Row[] = [];
  try {
    for (const crew of crewsOf(values.workers.split(',').map(Number), Number(values.hosts)))
      rows.push(await measure(folder, crew, sizes, rows[0]?.steps_per_second));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ machine, sizes, rows }, null, 2)}\n`);
  } else {
    for (const [key, value] of Object.entries(machine))
      process.stdout.write(`${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}\n`);
    process.stdout.write(`${JSON.stringify(sizes)}\n\n${tableOf(rows)}\n`);
  }
  const starved = rows.filter(({ least }) => least === 0);
  for (const { workers, hosts } of starved)
    process.stderr.write(
      `one of ${workers} workers on ${hosts} host(s) had nothing to do: give more --workflows\n`,
    );
  if (starved.length > 0) process.exitCode = 1;
}

interface Crew {
  readonly hosts: number;
  readonly workers: number;
}

function crewsOf(workers: readonly number[], hosts: number): Crew[] {
  const on = (count: number): Crew[] => workers.map((one) => ({ hosts: count, workers: one }));
  if (hosts === 1) return on(1);
  if (hosts !== HOSTS.length) {
    const error = new Error(`--hosts: expected 1 or ${HOSTS.length}, got ${hosts}`);
    throw Object.assign(error, { code: 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE' });
  }
  if (canMakeHosts) return [...on(1), ...on(hosts).filter((crew) => crew.workers > 1)];
  process.stderr.write('two hosts need root, `ip netns` and `unshare`: only one is measured\n');
  return on(1);
}

async function measure(dir: string, crew: Crew, sizes: Sizes, first?: number): Promise<Row> {
  const { hosts, workers } = crew;
  const { workflows, steps, slots } = sizes;
  const ground = await openGround({
    folder: join(dir, `${hosts}-${workers}`),
    workers: hosts === 1 ? workers : 0,
    watcher: false,
    env: { LONGSHORE_TASKS_PATH: join(import.meta.dirname, 'tasks'), LOG_LEVEL: 'warn' },
    overrides: { autoscale: { min: slots, max: slots }, reload: { watch: 'off' }, schedules: [] },
    tell: (line) => process.stderr.write(`${line}\n`),
  });
  ground.start();
  const away = hosts === 1 ? null : await startOnHosts(ground, workers);
  try {
    const seconds = await timed(ground, workers, sizes);
    const by = ground.ask<{ worker: string; n: number }>(
      "select worker, count(*) as n from attempts where outcome = 'success' group by worker",
    );
    const counts = by.map(({ n }) => n);
    const steps_per_second = (workflows * steps) / seconds;
    return {
      hosts,
      workers,
      steps_per_second,
      ratio: steps_per_second / (first ?? steps_per_second),
      least: counts.length < workers ? 0 : Math.min(...counts),
      most: Math.max(...counts),
    };
  } finally {
    await away?.stop();
    await ground.stop();
  }
}

/** In turns, so that each host has half of them. */
async function startOnHosts(ground: Ground, workers: number): Promise<{ stop(): Promise<void> }> {
  const folder = join(ground.config.state_dir, 'redis');
  while (embeddedRedisUrl(folder) === null) await sleep(50);
  const redis = embeddedRedisUrl(folder) ?? '';
  const spaces = await makeNamespaces(redis);
  const children = Array.from({ length: workers }, (_, at) => {
    const host = HOSTS[at % HOSTS.length] ?? HOSTS[0];
    const [file = '', ...args] = spaces.on(host, [process.execPath, WORKER]);
    return spawn(file, args, {
      env: { ...ground.env, REDIS_URL: spaces.seenFrom(host, redis) },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  });
  const ended = children.map((child) => once(child, 'exit'));
  return {
    stop: async () => {
      for (const child of children) child.kill('SIGTERM');
      await Promise.all(ended);
      spaces.remove();
    },
  };
}

/** From the moment when the queue opens to the last success. */
async function timed({ config }: Ground, workers: number, { workflows, steps }: Sizes): Promise<number> {
  const log = createLogger('bench', {}, { level: 'error', to: 2 });
  const store = await openStore(config);
  const side = await openQueueSide(config, { log, wait_seconds: 60, name: 'bench-fleet' });
  const engine = await createEngine({ config, store, log, queue_side: side });
  const queue = side.queues.get(defaultQueue(config));
  try {
    await queue.pause();
    const shape = {
      name: 'noop',
      steps: Array.from({ length: steps }, (_, at) => ({ name: `step ${at}`, task: 'noop' })),
    };
    for (let dataset_id = 1; dataset_id <= workflows; dataset_id += 1)
      await engine.start(shape, { dataset_id, initiator: 'bench', alongside: true });
    while ((await side.registry.list()).length < workers) await sleep(100);
    const begun = performance.now();
    await queue.resume();
    while ((await engine.counts()).SUCCESS < workflows) await sleep(20);
    return (performance.now() - begun) / 1000;
  } finally {
    await engine.close();
    await side.close();
    await store.close();
  }
}

function tableOf(rows: readonly Row[]): string {
  const cells = [
    ['hosts', 'workers', 'steps/s', 'against 1', 'least', 'most'],
    ...rows.map((row) => [
      String(row.hosts),
      String(row.workers),
      row.steps_per_second.toFixed(1),
      row.ratio.toFixed(2),
      String(row.least),
      String(row.most),
    ]),
  ];
  return cells.map((line) => line.map((cell) => cell.padStart(10)).join('')).join('\n');
}
