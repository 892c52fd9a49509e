import { type Command, InvalidArgumentError } from 'commander';
import { type ScaleEntry, scaleHistory } from '../../../workers/queue/scale-history.ts';
import { ago } from '../format.ts';
import { helpTail, jsonOption } from '../program.ts';
import { printJson, withQueue } from '../session.ts';
import { printTable } from '../table.ts';

interface Options {
  history?: boolean;
  limit: number;
  json?: boolean;
}

/** scale. */
export function addScale(program: Command): void {
  program
    .command('scale')
    .description('what the workers decided about their slots and processes, and why')
    .option('--history', 'the decisions of all workers, newest first (what it does without arguments)')
    .option('--limit <n>', 'so many decisions', positive, 30)
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore scale --history', 'longshore scale --history --json']))
    .action((options: Options) => history(options));
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
