import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Redis } from 'ioredis';
import type { Config } from '../../../config/index.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import {
  type AskedRun,
  askForRun,
  listSchedules,
  lookAtRun,
  type ScheduleState,
} from '../../../workers/queue/schedule-list.ts';
import { EXIT_BUSY } from '../../../workers/queue/script-lock.ts';
import {
  openTickQueue,
  type Schedule,
  scheduleId,
  type TickQueue,
} from '../../../workers/queue/tick-queue.ts';
import { ago, duration, oneLine } from '../format.ts';
import { dryRunBesideArguments, EXIT, helpTail, jsonOption } from '../program.ts';
import { printJson, withQueue } from '../session.ts';
import { printTable, type Style } from '../table.ts';

interface Ground {
  readonly config: Config;
  readonly redis: Redis;
  readonly queue: TickQueue;
}

interface RunOptions {
  wait: boolean;
  dryRun?: boolean;
  json?: boolean;
}

/** schedules, schedules run. */
export function addSchedules(program: Command): void {
  const schedules = program
    .command('schedules')
    .description(
      'maintenance that runs by itself (config.schedules): next and last run, result, and where it runs',
    )
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore schedules', 'longshore schedules run scrub']))
    .action(({ json }: { json?: boolean }) =>
      withTicks(async ({ config, queue, redis }) => {
        const rows = await listSchedules(config, queue, redis);
        if (json) printJson({ schedules: rows });
        else show(rows);
      }),
    );
  schedules
    .command('run')
    .argument('<name>', 'as `longshore schedules` lists it')
    .description('have a worker run it now, and wait for its end; its next turn stays')
    .option('--no-wait', 'do not wait for its end')
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore schedules run purge_staged_datasets', 'longshore schedules run scrub --no-wait']),
    )
    .addHelpText(
      'after',
      `It runs already: ${EXIT_BUSY}. On this host, without a worker: npx node scripts/NAME.ts`,
    )
    .action((name: string, _: RunOptions, command: Command) =>
      withTicks(async (ground) => {
        process.exitCode = await run(ground, name, command.optsWithGlobals<RunOptions>());
      }),
    );
}

const withTicks = (body: (ground: Ground) => Promise<void>): Promise<void> =>
  withQueue(async ({ config, log, side: { redis } }) => {
    const queue = openTickQueue(config, redis, log);
    try {
      await body({ config, redis, queue });
    } finally {
      await queue.close();
    }
  });

function show(rows: readonly ScheduleState[]): void {
  if (rows.length === 0) process.stdout.write('no schedules are configured (config.schedules)\n');
  printTable(process.stdout, rows, [
    { title: 'NAME', value: ({ id }) => id, shrink: true },
    { title: 'CRON', value: ({ cron }) => cron, spare: true },
    { title: 'NEXT', value: ({ next }) => (next === null ? 'no worker has taken it up' : until(next)) },
    { title: 'LAST RUN', value: ({ last_run }) => ago(last_run?.started_at) },
    { title: 'RESULT', value: resultOf, style: (row) => STYLES[resultOf(row) ?? ''] },
    { title: 'TOOK', value: tookOf, align: 'right', spare: true },
    { title: 'RUNS AT', value: ({ running_at }) => running_at },
    { title: 'NOTE', value: noteOf, wrap: true, least: 12 },
  ]);
}

const STYLES: Readonly<Record<string, Style>> = {
  done: 'green',
  failed: 'red',
  lost: 'red',
  running: 'cyan',
};

const resultOf = ({ last_run, lost }: ScheduleState): string | undefined =>
  lost ? 'lost' : last_run?.outcome;

function tookOf({ last_run }: ScheduleState): string {
  if (last_run === null || last_run.ended_at === null) return '-';
  return duration((Date.parse(last_run.ended_at) - Date.parse(last_run.started_at)) / 1000);
}

function until(date: string): string {
  const seconds = Math.round((Date.parse(date) - Date.now()) / 1000);
  return seconds < 0 ? `overdue by ${duration(-seconds)}` : `in ${duration(seconds)}`;
}

function noteOf({ last_run, last_skip, missed }: ScheduleState): string {
  const later = last_skip !== null && (last_run === null || last_skip.at > last_run.started_at);
  const parts = [
    ...(last_run?.reason == null ? [] : [last_run.reason]),
    ...(later ? [`a turn was left out ${ago(last_skip.at)}: ${last_skip.why}`] : []),
    ...(missed === 'skip' ? ['missed turns are left out'] : []),
  ];
  return parts.join('; ');
}

async function run({ config, queue }: Ground, name: string, options: RunOptions): Promise<number> {
  const { wait, dryRun = false, json = false } = options;
  const schedule = findSchedule(config, name);
  const id = scheduleId(schedule);
  if ((await queue.getWorkersCount()) === 0)
    throw new LongshoreError('E_NO_WORKER', `no worker is there to run ${id}; nothing was queued`, {
      hint: `Start one with \`npm start\`, or run it on this host: ${commandOf(schedule)}`,
    });
  if (dryRun) {
    if (json) printJson({ dry_run: true, schedule: id });
    else process.stdout.write(`${id} would be run by a worker (dry run: nothing was changed)\n`);
    return EXIT.ok;
  }
  const { id: job_id = '' } = await askForRun(queue, schedule);
  const last = wait ? await endOf(queue, job_id) : await lookAtRun(queue, job_id);
  if (json) printJson({ schedule: id, job_id, ...last });
  else
    process.stdout.write(
      `${id}: ${last.state}${last.state === 'failed' ? `: ${oneLine(last.reason ?? '')}` : ''}${seeOf(schedule, last.state)}\n`,
    );
  if (last.state === 'failed') return EXIT.failed;
  return last.state === 'skipped' ? EXIT_BUSY : EXIT.ok;
}

async function endOf(queue: TickQueue, job_id: string): Promise<AskedRun> {
  for (;;) {
    const seen = await lookAtRun(queue, job_id);
    if (seen.state !== 'waiting' && seen.state !== 'running') return seen;
    await sleep(250);
  }
}

const commandOf = ({ script, args }: Schedule): string => [`node scripts/${script}.ts`, ...args].join(' ');

const SHOWN_BY: Readonly<Record<string, string>> = { scrub: 'fixity', metrics: 'metrics --recorded' };

/** What a script prints goes to the log of its worker; of some the result can be looked at. */
function seeOf({ script }: Schedule, state: string): string {
  const command = SHOWN_BY[script];
  return state === 'done' && command !== undefined ? `; see npx longshore ${command}` : '';
}

/** By its whole name, or by its script where only one schedule runs that. @throws E_USAGE */
function findSchedule({ schedules }: Config, name: string): Schedule {
  const exact = schedules.find((one) => scheduleId(one) === name);
  const [one, ...others] = exact === undefined ? schedules.filter(({ script }) => script === name) : [exact];
  if (one !== undefined && others.length === 0) return one;
  throw new LongshoreError(
    'E_USAGE',
    `"${name}" names ${one === undefined ? 'no schedule' : 'several schedules'}; expected one of ${schedules.map(scheduleId).join(', ') || 'none: config.schedules is empty'}`,
  );
}
