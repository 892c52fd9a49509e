import type { RunningJob, SeenWorker } from '../../workers/queue/registry.ts';
import { hostOfSeat } from '../../workers/fleet/control/seat.ts';
import type { FleetView } from '../../workers/workflows/fleet.ts';
import { readyIn } from './fleet-problems.ts';
import { ago, bytes, counted, duration } from './format.ts';
import { figuresText } from './progress.ts';
import { type Column, type Out, paint, printTable, takesColour } from './table.ts';

/** All that `longshore fleet` knows; printed as it is with --json. */
export interface FleetReport extends Omit<FleetView, 'jobs' | 'unfit' | 'refused'> {
  drained_hosts: string[];
  /** Of workers that are drained also when they are started again: `app@host#instance`. */
  drained_workers: string[];
  problems: string[];
}

export type PlacedJob = RunningJob & { worker: string };

export const jobsOf = (workers: readonly SeenWorker[]): PlacedJob[] =>
  workers.flatMap(({ name, running }) => running.map((job) => ({ ...job, worker: name })));

/** What stands behind the `@` is enough for a person; the app is the same for all. */
export const shortName = (name: string): string => name.slice(name.indexOf('@') + 1);

export function jobColumns(datasets: ReadonlyMap<number, string>): Column<PlacedJob>[] {
  return [
    { title: 'TASK ID', value: ({ task_id }) => task_id },
    { title: 'DATASET', value: ({ dataset_id }) => datasets.get(dataset_id ?? -1), shrink: true },
    { title: 'NAME', value: ({ workflow }) => workflow, spare: true },
    { title: 'STEP', value: ({ step }) => step, shrink: true, least: 8 },
    { title: 'TRY', value: ({ attempt }) => attempt, align: 'right', spare: true },
    { title: 'WORKER', value: ({ worker }) => shortName(worker), spare: true },
    { title: 'FOR', value: ({ since }) => duration((Date.now() - Date.parse(since)) / 1000) },
    {
      title: 'PROGRESS',
      value: ({ progress }) => (progress === null ? '-' : figuresText(progress)),
      shrink: true,
    },
  ];
}

const sum = (figures: readonly number[]): number => figures.reduce((total, one) => total + one, 0);

function workerColumns(codes: number): Column<SeenWorker>[] {
  return [
    { title: 'WORKER', value: ({ name }) => shortName(name) },
    {
      title: 'STATE',
      value: ({ state, suspended, restart_due }) =>
        `${suspended ? 'suspended' : state}${restartText(restart_due)}`,
      style: ({ state, suspended, restart_due }) =>
        state === 'working' && !suspended && !restart_due ? 'green' : 'yellow',
    },
    { title: 'BUSY', value: ({ queues }) => sum(queues.map(({ busy }) => busy)), align: 'right' },
    { title: 'SLOTS', value: ({ queues }) => sum(queues.map(({ slots }) => slots)), align: 'right' },
    { title: 'MIN-MAX', value: ({ queues }) => queues.map(({ min, max }) => `${min}-${max}`).join(' ') },
    { title: 'QUEUES', value: ({ queues }) => queues.map(({ queue }) => queue).join(' '), shrink: true },
    { title: 'LOAD', value: ({ load }) => load[0]?.toFixed(2), align: 'right' },
    { title: 'MEMORY', value: ({ rss }) => bytes(rss), align: 'right', spare: true },
    {
      title: 'RELEASE',
      value: ({ release }) => `${release.version} ${release.code}`,
      style: () => (codes > 1 ? 'yellow' : undefined),
      spare: true,
    },
    {
      title: 'UP',
      value: ({ started_at }) => duration((Date.now() - Date.parse(started_at)) / 1000),
      spare: true,
    },
    { title: 'LAST JOB', value: ({ queues }) => ago(lastOf(queues)), spare: true },
    { title: 'SEEN', value: ({ seen_seconds }) => `${duration(seen_seconds)} ago` },
  ];
}

/** Entries of older releases do not tell. */
const restartText = (due: SeenWorker['restart_due'] | undefined): string =>
  due === null || due === undefined
    ? ''
    : due.by_itself && !due.overdue
      ? ', restarts when idle'
      : ', must be restarted';

const lastOf = (queues: SeenWorker['queues']): string | null =>
  queues
    .map(({ consumed_at }) => consumed_at)
    .filter((at) => at !== null)
    .toSorted()
    .at(-1) ?? null;

/** Workers, queues, what is wrong, and the jobs that run. */
export function showFleet(out: Out, report: FleetReport, datasets: ReadonlyMap<number, string>): void {
  const { workers, queues, drained_hosts, drained_workers, problems } = report;
  const codes = new Set(workers.map(({ release }) => release.code)).size;
  const hosts = new Set(workers.map(({ host }) => host)).size;
  out.write(`${counted(workers.length, 'worker')} on ${counted(hosts, 'host')}\n`);
  printTable(out, workers, workerColumns(codes));
  out.write('\n');
  printTable(out, queues, [
    { title: 'QUEUE', value: ({ name }) => name },
    {
      title: 'STATE',
      value: ({ paused }) => (paused ? 'paused' : 'open'),
      style: ({ paused }) => (paused ? 'yellow' : 'green'),
    },
    { title: 'WORKERS', value: ({ served_by }) => served_by, align: 'right' },
    { title: 'RUNNING', value: ({ jobs }) => jobs.active, align: 'right' },
    {
      title: 'READY',
      value: ({ jobs }) => readyIn(jobs),
      align: 'right',
    },
    { title: 'LATER', value: ({ jobs }) => jobs.delayed, align: 'right' },
  ]);
  for (const host of drained_hosts)
    out.write(`\nhost ${host} is drained: its workers take no jobs (npx longshore undrain ${host})\n`);
  for (const seat of drained_workers) {
    const now = workers.find((worker) => worker.seat === seat);
    const where = now === undefined ? 'not there now' : `now ${shortName(now.name)}`;
    const undo = now === undefined ? hostOfSeat(seat) : shortName(now.name);
    out.write(
      `\nworker ${seat} (${where}) is drained, also when it is started again (npx longshore undrain ${undo})\n`,
    );
  }
  for (const problem of problems) out.write(`\n${paint(problem, 'red', takesColour(out))}\n`);
  const jobs = jobsOf(workers);
  if (jobs.length > 0) out.write('\n');
  printTable(out, jobs, jobColumns(datasets));
}
