import type { Command } from 'commander';
import { alone, busyHelp } from '../alone.ts';
import { type Config, commandConfig } from '../../../config/index.ts';
import type { Metric } from '../../../workers/catalog/contract.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import type { Logger } from '../../../workers/log.ts';
import type { Records } from '../../../workers/records/contract.ts';
import type { Store } from '../../../workers/store.ts';
import { measure, oneOfEach, type Source } from '../../metrics/measure.ts';
import { bytes, count, counted, oneLine } from '../format.ts';
import { EXIT, flag, jsonOption } from '../program.ts';
import { commandLog, printJson, type Session, withStore } from '../session.ts';
import { printTable } from '../table.ts';
import type { Tool } from '../tool.ts';

interface Options {
  recorded?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

interface Run {
  at: string;
  metrics: readonly Metric[];
}

/** Of the records, where no API takes them: one run a day for a year. */
const NOTE = 'metrics';
const RUNS_KEPT = 366;

export const metricsTool: Tool = {
  script: 'metrics',
  description:
    'Measure how full file systems and quotas are (quota, lfs quota, df; config.metrics), and hand it to the API, or keep it in the records.',
  summary: 'measure how full file systems and quotas are',
  examples: ['--dry-run', '--recorded --json'],
  define: (command: Command) =>
    command
      .addOption(flag('recorded', 'show what was measured last instead'))
      .addOption(flag('dry-run', 'measure and record nothing'))
      .addOption(jsonOption())
      .addHelpText(
        'after',
        `\nA program failed or took too long: ${EXIT.failed}; the others are recorded all the same.${busyHelp}`,
      )
      .action(async (options: Options) => {
        process.exitCode = await run(options);
      }),
};

async function run(options: Options): Promise<number> {
  if (options.recorded) return withStore((session) => showRecorded(session, options.json));
  // It needs no records, so it makes none either.
  if (options.dryRun) return measureAndTell(await commandConfig(), commandLog(), null, options);
  return withStore(
    (session) =>
      alone(session, { script: 'metrics', dry_run: false }, () =>
        measureAndTell(session.config, session.log, session.store, options),
      ),
    { make: true },
  );
}

async function measureAndTell(
  config: Config,
  log: Logger,
  store: Store | null,
  { json }: Options,
): Promise<number> {
  const dry_run = store === null;
  const sources = await measure(config);
  const metrics = oneOfEach(sources);
  for (const { source, why } of sources.filter(({ state }) => state === 'failed'))
    log.error({ source, why }, 'a measurement failed');
  if (store !== null && metrics.length > 0) {
    if (store.catalog.putMetrics !== undefined) await store.catalog.putMetrics(metrics);
    else await keep(store.records, { at: new Date().toISOString(), metrics });
  }
  if (json)
    printJson({
      dry_run,
      metrics,
      sources: sources.map(({ source, state, why }) => ({ source, state, why })),
    });
  else show(metrics, sources, dry_run);
  return sources.some(({ state }) => state === 'failed') ? EXIT.failed : EXIT.ok;
}

async function keep(records: Records, run: Run): Promise<void> {
  await records.setNote(NOTE, [run, ...(await kept(records))].slice(0, RUNS_KEPT));
}

const kept = async (records: Records): Promise<Run[]> => ((await records.note(NOTE)) ?? []) as Run[];

async function showRecorded({ store }: Session, json = false): Promise<number> {
  if (store.catalog.putMetrics !== undefined)
    throw new LongshoreError('E_USAGE', 'the API keeps what was measured; look there');
  const runs = await kept(store.records);
  if (json) printJson({ runs });
  else if (runs[0] === undefined) process.stdout.write('nothing was measured yet\n');
  else {
    process.stdout.write(`measured ${runs[0].at}, ${counted(runs.length, 'run is', 'runs are')} kept\n`);
    table(runs[0].metrics);
  }
  return EXIT.ok;
}

function show(metrics: readonly Metric[], sources: readonly Source[], dry_run: boolean): void {
  table(metrics);
  for (const { source, state, why } of sources)
    if (state === 'failed') process.stdout.write(`${source}: ${oneLine(why ?? '')}\n`);
  const absent = sources.filter(({ state }) => state === 'absent').map(({ source }) => source);
  const parts = [
    `${metrics.length} figures${dry_run ? ' (dry run: nothing was recorded)' : ' recorded'}`,
    ...(absent.length > 0 ? [`not installed here: ${absent.join(', ')}`] : []),
  ];
  process.stdout.write(`${parts.join('; ')}\n`);
}

function table(metrics: readonly Metric[]): void {
  const shown = ({ measurement }: Metric, value: number): string =>
    measurement.endsWith(' files') ? count(value) : bytes(value);
  printTable(process.stdout, metrics, [
    { title: 'MEASUREMENT', value: (row) => row.measurement, shrink: true },
    { title: 'USED', value: (row) => shown(row, row.usage), align: 'right' },
    { title: 'LIMIT', value: (row) => (row.limit === 0 ? 'none' : shown(row, row.limit)), align: 'right' },
    {
      title: 'FULL',
      value: (row) => (row.limit === 0 ? '-' : `${((100 * row.usage) / row.limit).toFixed(1)} %`),
      style: (row) => (row.limit > 0 && row.usage >= row.limit ? 'red' : undefined),
      align: 'right',
    },
    { title: 'SUBJECT', value: (row) => row.subject, shrink: true },
  ]);
}
