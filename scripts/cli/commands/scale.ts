import { hostname } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';
import { LongshoreError } from '../../../workers/errors.ts';
import { scaleProcesses } from '../../../workers/fleet/scaling/process-scaling.ts';
import { USUAL_APP } from '../../../workers/fleet/routing.ts';
import { type ScaleEntry, scaleHistory } from '../../../workers/queue/scale-history.ts';
import { ago, counted } from '../format.ts';
import { addLimit, type Limited, limitOf, tailOf } from '../limit.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson, withQueue } from '../session.ts';
import { printTable } from '../table.ts';

interface Options extends Limited {
  history?: boolean;
  app: string;
  dryRun?: boolean;
  json?: boolean;
}

/** scale. */
export function addScale(program: Command): void {
  addLimit(program.command('scale'), 30)
    .argument('[n]', 'so many worker processes on this host, from 1', positive)
    .description(
      'change the number of worker processes on this host, or tell what was decided about slots and processes',
    )
    .option('--history', 'the decisions of all workers, newest first (what it does without arguments)')
    .option('--app <name>', 'of this app of config.workers', USUAL_APP)
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore scale 3',
        'longshore scale 2 --app tape',
        'longshore scale --history',
        'longshore scale --history --json',
      ]),
    )
    .action((wanted: number | undefined, options: Options) =>
      wanted === undefined || options.history === true ? history(options) : scale(wanted, options),
    );
}

async function scale(wanted: number, { app, dryRun = false, json }: Options): Promise<void> {
  const { from, to, draining, removed } = await withQueue(({ config, log, side }) => {
    if (!Object.hasOwn(config.workers, app))
      throw new LongshoreError(
        'E_USAGE',
        `--app: "${app}" is not in config.workers (${Object.keys(config.workers).join(', ')})`,
      );
    return scaleProcesses(
      { config, log, redis: side.redis, host: hostname(), app },
      () => wanted,
      `asked for by ${currentUser()}`,
      { dry_run: dryRun },
    );
  });
  if (json) return printJson({ dry_run: dryRun, from, to, draining, removed });
  const text =
    from === to
      ? `${counted(to, 'worker process', 'worker processes')}; nothing to change`
      : `from ${from} to ${counted(to, 'worker process', 'worker processes')}`;
  const leave =
    draining.length === 0
      ? ''
      : draining.length === 1
        ? '; 1 takes no more jobs and leaves when those it runs have ended'
        : `; ${draining.length} take no more jobs and leave when those they run have ended`;
  const gone = removed.length === 0 ? '' : `; ${removed.length} had not begun yet and are gone`;
  process.stdout.write(`${text}${leave}${gone}${dryRun ? ' (dry run: nothing was changed)' : ''}\n`);
}

async function history({ json, ...options }: Options): Promise<void> {
  const limit = limitOf(options);
  // One more than is shown tells whether there are more.
  const found = await withQueue(({ config, side }) => scaleHistory(side.redis, config, limit + 1));
  const entries = found.slice(0, limit);
  if (json) return printJson({ decisions: entries });
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
        from === to ? `${action} ${from} ${of}` : `${from} to ${to} ${action === 'hand back' ? 'jobs' : of}`,
    },
    { title: 'BECAUSE', value: ({ reason }) => reason, wrap: true },
  ]);
  if (found.length > limit) process.stdout.write(`${tailOf(limit, null, 'decision')}\n`);
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number from 1');
  return value;
}
