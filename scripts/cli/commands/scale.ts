import { hostname } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';
import { scaleProcesses } from '../../../workers/fleet/process-scaling.ts';
import { type ScaleEntry, scaleHistory } from '../../../workers/queue/scale-history.ts';
import { ago } from '../format.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson, withQueue } from '../session.ts';
import { printTable } from '../table.ts';

interface Options {
  history?: boolean;
  limit: number;
  dryRun?: boolean;
  json?: boolean;
}

/** scale. */
export function addScale(program: Command): void {
  program
    .command('scale')
    .argument('[n]', 'so many worker processes on this host, from 1', positive)
    .description(
      'change the number of worker processes on this host, or tell what was decided about slots and processes',
    )
    .option('--history', 'the decisions of all workers, newest first (what it does without arguments)')
    .option('--limit <n>', 'so many decisions', positive, 30)
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore scale 3', 'longshore scale --history', 'longshore scale --history --json']),
    )
    .action((wanted: number | undefined, options: Options) =>
      wanted === undefined || options.history === true ? history(options) : scale(wanted, options),
    );
}

async function scale(wanted: number, { dryRun = false, json }: Options): Promise<void> {
  const { from, to, draining } = await withQueue(({ config, log, side }) =>
    scaleProcesses(
      { config, log, redis: side.redis, host: hostname() },
      () => wanted,
      `asked for by ${currentUser()}`,
      { dry_run: dryRun },
    ),
  );
  if (json) return printJson({ dry_run: dryRun, from, to, draining });
  const text =
    from === to ? `${to} worker processes; nothing to change` : `${from} to ${to} worker processes`;
  const leave =
    draining.length === 0 ? '' : `; ${draining.length} take no more jobs and leave when theirs have ended`;
  process.stdout.write(`${text}${leave}${dryRun ? ' (dry run: nothing was changed)' : ''}\n`);
}

async function history({ limit, json }: Options): Promise<void> {
  const entries = await withQueue(({ config, side }) => scaleHistory(side.redis, config, limit));
  if (json) return printJson(entries);
  if (entries.length === 0) {
    process.stdout.write('no decision of the last 7 days\n');
    return;
  }
  printTable<ScaleEntry>(process.stdout, entries, [
    { title: 'WHEN', value: ({ at }) => ago(at) },
    { title: 'WHO', value: ({ who }) => who, shrink: true },
    {
      title: 'WHAT',
      value: ({ of, action, from, to }) =>
        from === to ? `${action} ${from} ${of}` : `${from} to ${to} ${of}`,
    },
    { title: 'WHY', value: ({ reason }) => reason, shrink: true },
  ]);
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number from 1');
  return value;
}
