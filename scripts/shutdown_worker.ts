/** Ends workers, on whatever host they are. */
import { LongshoreError } from '../workers/errors.ts';
import type { SeenWorker } from '../workers/queue/registry.ts';
import { busyHelp } from './cli/alone.ts';
import { chosen, type FleetSession, withFleet } from './cli/fleet-session.ts';
import { waitOption } from './cli/commands/fleet.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { currentUser, printJson } from './cli/session.ts';
import { printTable } from './cli/table.ts';
import { wholeNumber } from './cli/tool.ts';
import { shutDown, type ShutdownRow } from './workers/shutdown.ts';
import { counted } from './cli/format.ts';

interface Options {
  hostname?: string;
  queues?: string[];
  immediate?: boolean;
  wait: number;
  untilGone: number;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'shutdown_worker',
  'Let workers end when their jobs have ended; with --immediate revoke what they run and end at once. pm2 does not start them again.',
  [
    'node scripts/shutdown_worker.ts --hostname node7',
    'node scripts/shutdown_worker.ts --hostname node7 --queues longshore.q --immediate',
    'node scripts/shutdown_worker.ts --hostname node7:4711 --until-gone 60',
    'node scripts/shutdown_worker.ts --queues longshore.q',
  ],
)
  .option('--hostname <worker>', 'a host, a worker (host:pid, or its whole name), or all')
  .option('--queues <queue...>', 'only workers that take jobs from one of these queues; alone: on all hosts')
  .option('--immediate', 'revoke the jobs that run (resume goes on with them) and end now')
  .option('--no-immediate', 'let jobs end first (default)')
  .option('--until-gone <seconds>', 'wait until the processes have ended', wholeNumber(), 0)
  .addOption(waitOption())
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText(
    'after',
    '\n`longshore shutdown --immediate` hands running jobs to other workers instead of\nrevoking them.\n' +
      busyHelp,
  )
  .action(async (options: Options) => {
    const named = { ...options, hostname: hostOf(options) };
    process.exitCode = await withFleet((session) => run(session, named));
  });

async function run(session: FleetSession, options: Options & { hostname: string }): Promise<number> {
  const { hostname, queues = [], immediate = false, dryRun: dry_run = false, json } = options;
  const meant = serving(chosen(await session.side.registry.list(), hostname), queues);
  if (dry_run) {
    const workers = meant.map(({ name, running }) => ({ worker: name, running: running.length }));
    if (json) printJson({ dry_run, immediate, workers });
    for (const { worker, running } of json ? [] : workers)
      process.stdout.write(
        `would end ${worker}${jobsText(running, immediate)} (dry run: nothing was changed)\n`,
      );
    return EXIT.ok;
  }
  const rows = await shutDown(session, meant, {
    immediate,
    actor: currentUser(),
    wait_seconds: options.wait,
    gone_seconds: options.untilGone,
  });
  if (json) printJson({ immediate, workers: rows });
  else show(rows);
  if (rows.some(({ outcome }) => outcome === 'silent')) return EXIT.unavailable;
  const late = options.untilGone > 0 && rows.some(({ outcome }) => outcome === 'leaving');
  return late || rows.some(({ outcome }) => outcome === 'failed') ? EXIT.failed : EXIT.ok;
}

function jobsText(running: number, immediate: boolean): string {
  if (running === 0) return '';
  return immediate
    ? ` and revoke ${counted(running, 'job')}`
    : ` when ${counted(running, 'job has', 'jobs have')} ended`;
}

/** @throws E_USAGE when nothing says which workers are meant */
function hostOf({ hostname, queues = [] }: Options): string {
  if (hostname !== undefined) return hostname;
  if (queues.length > 0) return 'all';
  throw new LongshoreError('E_USAGE', 'no worker was named; expected --hostname, --queues or both');
}

/** @throws E_USAGE when none of them serves one of the queues */
function serving(workers: readonly SeenWorker[], queues: readonly string[]): readonly SeenWorker[] {
  if (queues.length === 0) return workers;
  const meant = workers.filter((worker) => worker.queues.some(({ queue }) => queues.includes(queue)));
  if (meant.length > 0) return meant;
  const served = [...new Set(workers.flatMap((worker) => worker.queues.map(({ queue }) => queue)))];
  throw new LongshoreError(
    'E_USAGE',
    `none of these workers takes jobs from ${queues.join(', ')}; they have ${served.join(', ') || 'no queue'}`,
  );
}

function show(rows: readonly ShutdownRow[]): void {
  printTable(process.stdout, rows, [
    { title: 'WORKER', value: (row) => row.worker, shrink: true },
    { title: 'OUTCOME', value: (row) => row.outcome },
    { title: 'RUNNING', value: (row) => row.running, align: 'right' },
    { title: 'REVOKED', value: (row) => row.revoked.join(', '), shrink: true },
    { title: 'NOTE', value: (row) => row.note, wrap: true },
  ]);
}

await runProgram(program);
