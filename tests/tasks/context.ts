/** What a task body is given, without a fleet: the real store, and notes of what it says. */
import type { Config } from '../../config/index.ts';
import { createLogger } from '../../workers/log.ts';
import type { AuditEntry, LogLine } from '../../workers/records/contract.ts';
import type { Store } from '../../workers/store.ts';
import type { TaskContext } from '../../workers/tasks/contract.ts';
import { runTool } from '../../workers/tools/run.ts';

export interface RunOptions {
  kwargs?: Record<string, unknown>;
  task_id?: string;
  attempt?: number;
  retries?: number;
  retries_left?: number;
  waits_for_archive?: boolean;
  workflow_id?: string;
  /** When the run first began; default: now. */
  date_start?: string;
  /** Called for each lease assertion; throws to lose the lease. */
  lease?: (assertion: number) => void;
  signal?: AbortSignal;
  /** Permits of the fleet; default: always granted. */
  permit?: (resource: string, limit: number) => boolean;
  /** The API's id of a process; default: it was told of none. */
  facilityProcess?: (process_id: number) => number | null;
  /** Told of each progress value. */
  onProgress?: (name: string, done: number) => void;
}

export interface Notes {
  readonly lines: LogLine[];
  readonly tools: string[][];
  readonly progress: { name: string; done: number; total: number | null }[];
  readonly audit: Pick<AuditEntry, 'action' | 'details'>[];
}

export function makeContext(parts: {
  config: Config;
  store: Store;
  id: number;
  run: RunOptions;
  notes: Notes;
}): TaskContext {
  const { config, store, id, run, notes } = parts;
  let assertions = 0;
  const signal = run.signal ?? new AbortController().signal;
  return {
    dataset_id: id,
    args: [id],
    kwargs: run.kwargs ?? {},
    config,
    catalog: store.catalog,
    run: {
      workflow_id: run.workflow_id ?? 'workflow-1',
      step: 'step',
      task_id: run.task_id ?? 'task-0001',
      attempt: run.attempt ?? 1,
      retries: run.retries ?? 0,
      retries_left: run.retries_left ?? 0,
      waits_for_archive: run.waits_for_archive ?? false,
      date_start: run.date_start ?? new Date().toISOString(),
    },
    log: createLogger('test'),
    signal,
    lease: { assert: async () => run.lease?.(assertions++) },
    permit: async (resource, limit) => run.permit?.(resource, limit) ?? true,
    progress: (name, { total }) => {
      const at = { name, done: 0, total };
      notes.progress.push(at);
      const set = (done: number): void => {
        at.done = done;
        run.onProgress?.(name, done);
      };
      return { set, add: (count) => set(at.done + count), end: () => undefined };
    },
    report: () => undefined,
    tool: (command, args, options = {}) => {
      notes.tools.push([command, ...args]);
      const sink = {
        open: async () => 1,
        append: async (_: number, lines: readonly LogLine[]) => void notes.lines.push(...lines),
      };
      return runTool({ command, args, options, signal, sink });
    },
    facilityProcess: async (process_id) => run.facilityProcess?.(process_id) ?? null,
    audit: async (action, details) => void notes.audit.push({ action, details }),
  };
}
