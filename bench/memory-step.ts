/** One task in a process of its own: `node memory-step.ts <task> <dataset id>`. Prints time and memory as JSON. */
import { loadConfig } from '../config/index.ts';
import { createTaskContext } from '../workers/fleet/isolation/task-context.ts';
import { createLogger } from '../workers/log.ts';
import { openStore } from '../workers/store.ts';
import { loadTask } from '../workers/tasks/registry.ts';
import { peakMemory } from './machine.ts';

export interface MemoryStep {
  readonly seconds: number;
  /** Bytes. */
  readonly peak: number;
}

const [name = '', id = ''] = process.argv.slice(2);
const { config } = await loadConfig();
const store = await openStore(config);
const now = new Date().toISOString();
const started = performance.now();
const log = createLogger(name);
const { context, flush } = createTaskContext(
  {
    key: { task_id: `bench-${name}`, number: 1 },
    dataset_id: Number(id),
    run: {
      _id: `bench-${name}`,
      workflow_id: 'bench',
      step: name,
      name,
      args: [Number(id)],
      // As in the workflow: the archive's pass digests the same bytes.
      kwargs: name === 'inspect_dataset' ? { digests: false } : {},
      date_start: now,
    },
  } as unknown as Parameters<typeof createTaskContext>[0],
  {
    config,
    store,
    log: () => log,
    signal: new AbortController().signal,
    assertLease: async () => undefined,
    permit: async () => true,
    overtaken: () => undefined, // The records know no such run: its progress goes nowhere.
  },
);
await (await loadTask(name)).run(context);
await flush();
await store.close();
const step: MemoryStep = { seconds: (performance.now() - started) / 1000, peak: peakMemory() };
process.stdout.write(JSON.stringify(step));
