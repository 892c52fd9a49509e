import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { SeenWorker } from '../../../workers/queue/registry.ts';
import { namesOf } from '../find.ts';
import { chosen, type FleetSession, withFleet } from '../fleet-session.ts';
import { takersProblems } from '../fleet-problems.ts';
import { ago, counted } from '../format.ts';
import { type FleetReport, jobColumns, jobsOf, showFleet, shortName } from '../fleet-view.ts';
import { EXIT, helpTail, jsonOption } from '../program.ts';
import { printJson } from '../session.ts';
import { printTable } from '../table.ts';

const WATCH_EVERY_MS = 2_000;

/** fleet, ping, active: who is there and what runs. */
export function addFleet(program: Command): void {
  program
    .command('fleet')
    .description('workers, hosts, releases, slots, load, queues, and the jobs that run, with progress')
    .option('--watch', 'show it again every 2 s, until Ctrl-C')
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore fleet', 'longshore fleet --watch', 'longshore fleet --json']))
    .action((options: { watch?: boolean; json?: boolean }) =>
      withFleet((session) => fleet(session, options)),
    );
  program
    .command('ping')
    .argument('[worker...]', 'workers, hosts, or all', ['all'])
    .description('ask workers for an answer, and say how long each took')
    .addOption(waitOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore ping', 'longshore ping node7 node8', 'longshore ping node7:4711']),
    )
    .action(async (targets: string[], options: { wait: number; json?: boolean }) => {
      process.exitCode = await withFleet((session) => ping(session, targets, options));
    });
  program
    .command('active')
    .argument('[worker...]', 'workers, hosts, or all', ['all'])
    .description('the jobs that run now')
    .addOption(jsonOption())
    .addHelpText('after', helpTail(['longshore active', 'longshore active node7 --json']))
    .action((targets: string[], { json }: { json?: boolean }) =>
      withFleet(async (session) => {
        const workers = await session.side.registry.list();
        const nobody = workers.length === 0 && targets.includes('all');
        const jobs = jobsOf(nobody ? [] : chosenOf(workers, targets));
        if (json) return printJson({ count: jobs.length, jobs });
        printTable(process.stdout, jobs, jobColumns(await datasetNames(session, workers)));
        if (jobs.length === 0) process.stdout.write('no jobs run\n');
      }),
    );
}

export function waitOption(): Option {
  return new Option('--wait <seconds>', 'how long workers may take to answer')
    .default(5)
    .argParser((text) => {
      if (/^[0-9]{1,4}(\.[0-9]+)?$/.test(text) && Number(text) > 0) return Number(text);
      throw new InvalidArgumentError('Expected a number of seconds.');
    });
}

const datasetNames = (
  { store }: FleetSession,
  workers: readonly SeenWorker[],
): Promise<Map<number, string>> =>
  namesOf(
    store,
    jobsOf(workers).map(({ dataset_id }) => dataset_id),
  );

async function fleet(
  session: FleetSession,
  { watch, json }: { watch?: boolean; json?: boolean },
): Promise<void> {
  const onScreen = watch === true && !json && process.stdout.isTTY;
  if (onScreen) takeScreen();
  for (;;) {
    const report = await reportOf(session);
    if (onScreen) process.stdout.write('\u001b[H\u001b[2J');
    if (json && watch) process.stdout.write(`${JSON.stringify(report)}\n`);
    else if (json) printJson(report);
    else showFleet(process.stdout, report, await datasetNames(session, report.workers));
    if (!watch) return;
    await sleep(WATCH_EVERY_MS);
  }
}

/** The terminal's other screen: what was printed before is there again afterwards, with all that can be scrolled to. */
function takeScreen(): void {
  process.stdout.write('\u001b[?1049h');
  process.once('exit', () => process.stdout.write('\u001b[?1049l'));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(EXIT.stopped));
}

async function reportOf({ engine, side }: FleetSession): Promise<FleetReport> {
  const view = await engine.fleet();
  const { workers, queues } = view;
  const drained_hosts = await side.registry.drainedHosts();
  const drained_workers = await side.registry.drainedWorkers();
  const problems = [...(await takersProblems(view)), ...codeProblems(workers)];
  return { workers, queues, drained_hosts, drained_workers, problems };
}

function codeProblems(workers: readonly SeenWorker[]): string[] {
  const problems: string[] = [];
  const codes = new Set(workers.map(({ release }) => release.code));
  if (codes.size > 1)
    problems.push(
      `The workers run ${codes.size} different releases; reload the older ones (npx pm2 reload worker).`,
    );
  for (const [reason, names] of Map.groupBy(workers, ({ suspended }) => suspended))
    if (reason)
      problems.push(
        `Workers that take no jobs: ${names.map(({ name }) => shortName(name)).join(', ')}. ${reason}.`,
      );
  for (const { name, restart_due } of workers) {
    // Entries of older releases have none.
    if (!restart_due || (restart_due.by_itself && !restart_due.overdue)) continue;
    const [first, ...more] = restart_due.files;
    const files = more.length === 0 ? first : `${first} and ${counted(more.length, 'more file')}`;
    problems.push(
      `Worker ${shortName(name)} must be restarted: ${files} changed ${ago(restart_due.since)} (npx longshore shutdown ${shortName(name)} --restart).`,
    );
  }
  return problems;
}

/** Each once, also where it is named by its host and by itself. */
const chosenOf = (workers: readonly SeenWorker[], targets: readonly string[]): SeenWorker[] => [
  ...new Set(targets.flatMap((target) => chosen(workers, target))),
];

const tookText = (ms: number | undefined): string => (ms === undefined ? '-' : `${ms.toFixed(1)} ms`);

async function ping(
  { side }: FleetSession,
  targets: readonly string[],
  { wait, json }: { wait: number; json?: boolean },
): Promise<number> {
  const to = chosenOf(await side.registry.list(), targets);
  const { replies, silent } = await side.control.ask(
    'ping',
    {},
    { to: to.map(({ name }) => name), wait_seconds: wait },
  );
  const ms = new Map(replies.map((reply) => [reply.worker, reply.ms]));
  if (json) printJson({ replies, silent });
  else
    printTable(process.stdout, to, [
      { title: 'WORKER', value: ({ name }) => shortName(name) },
      { title: 'TOOK', value: ({ name }) => tookText(ms.get(name)), align: 'right' },
      {
        title: 'ANSWER',
        value: ({ name, state }) => (ms.has(name) ? state : `none within ${wait} s`),
        style: ({ name }) => (ms.has(name) ? 'green' : 'red'),
      },
    ]);
  return silent.length > 0 ? EXIT.unavailable : EXIT.ok;
}
