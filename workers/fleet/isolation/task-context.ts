import type { Config } from '../../../config/index.ts';
import type { Logger } from '../../log.ts';
import type { Progress, Records, TaskRun } from '../../records/contract.ts';
import type { Store } from '../../store.ts';
import type { TaskContext } from '../../tasks/contract.ts';
import type { LogSink } from '../../tools/run.ts';
import { guardCatalog } from './guarded-catalog.ts';
import type { Work } from './messages.ts';
import { createMeter, createProgressWriter } from './progress.ts';

interface Surroundings {
  config: Config;
  store: Store;
  /** Made when a line is to be written. */
  log: () => Logger;
  signal: AbortSignal;
  assertLease: () => Promise<void>;
  permit: (resource: string, limit: number) => Promise<boolean>;
  /** The records refused a write of this attempt. */
  overtaken: () => void;
}

/** What a task body is given, and how to bring its last progress to the records before it reports. */
export function createTaskContext(
  work: Work,
  { config, store, log, signal, assertLease, permit, overtaken }: Surroundings,
): { context: TaskContext; flush: () => Promise<void> } {
  const { key, run, dataset_id, max_retries, waits_for_archive } = work;
  const flushes: (() => Promise<void>)[] = [];
  const write = async (value: Progress | Record<string, unknown>): Promise<void> => {
    try {
      if (!(await store.records.progress(key, value))) overtaken();
    } catch (error) {
      // Progress is a display: a task of many hours does not end because one of its lines could not be written.
      log().warn({ err: error }, 'progress could not be recorded');
    }
  };
  const newWriter = () => {
    const writer = createProgressWriter(write);
    flushes.push(() => writer.flush());
    return writer;
  };
  const reports = newWriter();
  const context: TaskContext = {
    dataset_id,
    args: run.args,
    kwargs: run.kwargs,
    config,
    catalog: guardCatalog(store.catalog, assertLease),
    run: {
      workflow_id: run.workflow_id,
      step: run.step,
      task_id: key.task_id,
      attempt: key.number,
      retries: run.retries,
      retries_left: Math.max(0, max_retries - run.retries),
      waits_for_archive,
      date_start: run.date_start ?? new Date().toISOString(),
    },
    get log() {
      return log();
    },
    signal,
    lease: { assert: assertLease },
    permit,
    progress: (name, options) => createMeter(name, options, newWriter()),
    report: (progress) => reports.offer(() => progress),
    tool: async (command, args, options = {}) => {
      // Loaded where it is wanted, as the log is: most attempts run no program.
      const { runTool } = await import('../../tools/run.ts');
      return runTool({
        command,
        args,
        options,
        signal,
        sink: logSink(store.records, run),
        onLoss: (lines, cause) => log().error({ command, lines, err: cause }, 'lines of a program were lost'),
        kill_grace_seconds: config.task.kill_grace_seconds,
      });
    },
    facilityProcess: async (id) =>
      store.records.facilityProcess === undefined ? id : store.records.facilityProcess(id),
    audit: (action, details) =>
      store.records.audit({
        actor: `task:${run.name}`,
        action,
        subject: `dataset:${dataset_id}`,
        details: { ...details, workflow_id: run.workflow_id },
      }),
  };
  return {
    context,
    flush: async () => {
      for (const flush of flushes) await flush();
    },
  };
}

/** Lines of a program that a task runs, under the task's run. */
function logSink(records: Records, run: TaskRun): LogSink {
  return {
    open: async ({ command, args, pid, start_time }) => {
      const { qualifiedName } = await import('../../tools/qualified-name.ts');
      return records.registerProcess({
        workflow_id: run.workflow_id,
        step: run.step,
        task_id: run._id,
        pid,
        hostname: await qualifiedName(),
        start_time,
        tags: { args: [command, ...args] },
      });
    },
    append: (process_id, lines) => records.appendLogs(process_id, lines),
  };
}
