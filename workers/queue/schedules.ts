import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Job, Queue, Worker } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { reportErrors } from './queues.ts';
import { EXIT_BUSY } from './script-lock.ts';

export type Schedule = Config['schedules'][number];
type Tick = { script: string; args: readonly string[] };

const SCRIPTS = join(import.meta.dirname, '../../scripts');
/** Different scripts may run at the same time; the same one excludes itself with its lock. */
const CONCURRENCY = 4;

export interface Schedules {
  /** Lets scripts that run go on by themselves: they hold their own lock. */
  close(): Promise<void>;
}

export const scheduleId = ({ script, args }: Schedule): string => [script, ...args].join(' ');

/**
 * Runs config.schedules: every tick once in the whole fleet, whichever worker gets it, each script as a process of
 * its own. A tick that finds the previous run still active is skipped by the script's lock and logged, not killed.
 */
export async function openSchedules(
  config: Config,
  redis: Redis,
  log: Logger,
  folder = SCRIPTS,
): Promise<Schedules> {
  const name = `${config.app_id}.schedules`;
  const options = { connection: redis, prefix: config.queue.prefix };
  const queue = new Queue<Tick>(name, options);
  reportErrors(queue, log);
  await publish(queue, config.schedules, folder, log);
  if (config.schedules.length === 0) {
    return { close: () => queue.close() };
  }
  const children = new Set<ChildProcess>();
  const worker = new Worker<Tick>(name, (job: Job<Tick>) => runScript(job.data, folder, children, log), {
    ...options,
    concurrency: CONCURRENCY,
    lockDuration: 30_000,
    drainDelay: 2,
  });
  reportErrors(worker, log);
  return {
    close: async () => {
      for (const child of children) child.unref();
      await worker.close(children.size > 0);
      await queue.close();
    },
  };
}

/** The schedules in Redis become those of the configuration: new ones are added, others removed. */
async function publish(
  queue: Queue<Tick>,
  schedules: readonly Schedule[],
  folder: string,
  log: Logger,
): Promise<void> {
  for (const schedule of schedules) {
    const { script, args, cron } = schedule;
    if (!existsSync(join(folder, `${script}.ts`)))
      log.error({ script, cron }, 'config.schedules names a script that scripts/ does not have');
    await queue.upsertJobScheduler(
      scheduleId(schedule),
      { pattern: cron },
      {
        name: script,
        data: { script, args: [...args] },
        opts: { removeOnComplete: { count: 100 }, removeOnFail: { count: 100 } },
      },
    );
  }
  const wanted = new Set(schedules.map(scheduleId));
  for (const known of await queue.getJobSchedulers(0, -1)) {
    if (!wanted.has(known.key)) await queue.removeJobScheduler(known.key);
  }
}

async function runScript(
  { script, args }: Tick,
  folder: string,
  children: Set<ChildProcess>,
  log: Logger,
): Promise<string> {
  const child = spawn(process.execPath, [join(folder, `${script}.ts`), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  children.add(child);
  try {
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (exit_code, exit_signal) => resolve([exit_code, exit_signal]));
    });
    if (code === 0) return 'done';
    if (code === EXIT_BUSY) {
      log.warn({ script, args }, 'a scheduled run was skipped: the previous one is still active');
      return 'skipped';
    }
    throw new Error(
      `scripts/${script}.ts ended with ${signal === null ? `exit code ${code}` : `signal ${signal}`}`,
    );
  } catch (error) {
    log.error({ err: error, script, args }, 'a scheduled script failed');
    throw error;
  } finally {
    children.delete(child);
  }
}
