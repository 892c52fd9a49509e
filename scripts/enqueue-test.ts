/** A developer's command: makes a small dataset, runs one task or workflow on it, and shows what becomes of it. */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError } from 'commander';
import { type Config, pathsOf } from '../config/index.ts';
import type { Dataset } from '../workers/dataset/types.ts';
import { LongshoreError } from '../workers/errors.ts';
import type { TaskFailure, WorkflowDocument } from '../workers/records/contract.ts';
import { refuseMistyped } from '../workers/fleet/missing-tasks.ts';
import { loadTask } from '../workers/tasks/registry.ts';
import { type AdHocWorkflow, buildWorkflow } from '../workers/workflows/definition.ts';
import { assertTaken, whyStepsWait } from '../workers/workflows/fleet.ts';
import { follow } from './cli/follow.ts';
import { bytes, counted, duration, parseBytes } from './cli/format.ts';
import { checkAll } from './cli/mistakes.ts';
import { createProgram, EXIT, jsonOption, runProgram } from './cli/program.ts';
import { currentStep, elapsedOf, type Followed, failureOf, failureText, isDone } from './cli/progress.ts';
import { currentUser, type EngineSession, printJson, withEngine } from './cli/session.ts';
import { stopOnSignal } from './cli/stop.ts';
import { asTyped } from './cli/typed.ts';
import { cleanAll, cleanUp, samplesFolder } from './enqueue-test/clean-up.ts';
import { makeSample, type Sample } from './enqueue-test/sample.ts';

const WAIT_FOR_WORKER_MS = 20_000;

interface Options extends Sample {
  task?: string;
  workflow?: string;
  prepare?: boolean;
  kwargs: Record<string, unknown>;
  type: string;
  keep?: boolean;
  clean?: boolean;
  json?: boolean;
}

const program = createProgram('enqueue-test', 'Make a small dataset and run one task or workflow on it.', [
  'npm run enqueue-test                                    the workflow that watched folders start with',
  'npm run enqueue-test -- --task inspect_dataset          one task on a fresh dataset',
  'npm run enqueue-test -- --task stage_dataset --prepare  with the steps that it builds on',
  'npm run enqueue-test -- --workflow integrated --fastq --size 50MB --files 8',
  'npm run enqueue-test -- --clean                         remove what earlier runs have left',
])
  .option('--task <name>', 'run this task; see `npx longshore tasks`')
  .option('--workflow <name>', 'run this workflow of config.workflow_registry')
  .option('--prepare', 'with --task: first the steps that come before it in the landing workflow')
  .option('--kwargs <json>', 'arguments by name, as {"wait_seconds": 1}', jsonObject, {})
  .option('--size <size>', 'of all files together', size, 10 * 1024 ** 2)
  .option('--files <n>', 'how many files', wholeNumber, 5)
  .option('--fastq', 'sequencing reads instead of noise', false)
  .option('--type <type>', 'dataset type', 'RAW_DATA')
  .option('--keep', 'leave the dataset, its archive and its copies in place')
  .option('--clean', 'run nothing; delete the datasets and folders of earlier runs that have ended')
  .addOption(jsonOption())
  .action(async (options: Options) => {
    process.exitCode = await withEngine(
      (session) => (options.clean ? clean(session, options.json ?? false) : run(session, options)),
      { make: true },
    );
  });

async function run(session: EngineSession, options: Options): Promise<number> {
  const { config, engine } = session;
  const [workflow] = await checkAll([
    () => workflowOf(session, options),
    () => pathsOf(config, options.type),
  ]);
  const document = buildWorkflow(config, workflow, { dataset_id: 0, initiator: 'check' });
  await assertTakenAfterAWhile(session, document, options.json ?? false);

  const name = `test_${new Date()
    .toISOString()
    .slice(0, 19)
    .replaceAll(/[^0-9]/g, '')}_${randomBytes(3).toString('hex')}`;
  const folder = join(samplesFolder(config), name);
  const dataset = await prepareSample(session, name, folder, options);
  // A sample does not change any more; asked for by name, the configured hour of waiting would help nobody.
  const start_kwargs = { recency_threshold: 0.5, wait_seconds: 0.5, ...options.kwargs };
  const started = await engine.start(workflow, {
    dataset_id: dataset.id,
    start_kwargs,
    initiator: currentUser(),
  });
  if (!options.json)
    process.stdout.write(`${folder}: ${counted(options.files, 'file')}, ${bytes(options.size)}\n`);
  const followed = await watchIt(session, started, { folder, json: options.json ?? false });
  // What went wrong is what there is to report; all well, the workflow that was asked for.
  const end = followed.find((one) => one.workflow.status !== 'SUCCESS') ?? followed[0];
  if (end === undefined) throw new LongshoreError('E_WORKFLOW_NOT_FOUND', `workflow ${started.id} is gone`);
  const done = end.workflow.status === 'SUCCESS';
  const cleaned = done && !options.keep && (await cleanUp(session, dataset, folder));
  await report(session, end, dataset, { options, folder, cleaned });
  return done ? EXIT.ok : EXIT.failed;
}

/** Workers restart themselves for what was changed a moment ago, and are back within seconds. @throws E_NO_WORKER */
async function assertTakenAfterAWhile(
  { engine }: EngineSession,
  document: WorkflowDocument,
  json: boolean,
): Promise<void> {
  const deadline = Date.now() + WAIT_FOR_WORKER_MS;
  for (let told = json; ; told = true) {
    const fleet = await engine.fleet();
    const unserved = whyStepsWait(document, fleet).filter(({ command }) => command === null);
    if (unserved.length === 0 || Date.now() >= deadline) return assertTaken(document, fleet);
    if (!told) {
      const why = unserved.map((one) => one.why).join('; ');
      process.stderr.write(`${why}; waiting ${WAIT_FOR_WORKER_MS / 1000} s for one …\n`);
    }
    await sleep(250);
  }
}

async function assertWorker({ engine }: EngineSession): Promise<void> {
  if ((await engine.fleet()).workers.length === 0)
    throw new LongshoreError('E_NO_WORKER', 'no worker is connected to the queue, so nothing would run');
}

async function clean(session: EngineSession, json: boolean): Promise<number> {
  await assertWorker(session);
  const cleaned = await cleanAll(session);
  if (json) printJson(cleaned);
  else {
    for (const folder of cleaned.removed) process.stdout.write(`removed ${folder}\n`);
    for (const { folder, reason } of cleaned.kept) process.stdout.write(`kept ${folder}: ${reason}\n`);
    process.stdout.write(`${cleaned.removed.length} removed, ${cleaned.kept.length} kept\n`);
  }
  return cleaned.kept.length === 0 ? EXIT.ok : EXIT.failed;
}

/** What is stopped, or fails, before there is a dataset leaves nothing. */
async function prepareSample(
  session: EngineSession,
  name: string,
  folder: string,
  options: Options,
): Promise<Dataset> {
  const stop = stopOnSignal('making the sample', 'nothing of it is left');
  const { state_dir, stage } = session.config;
  try {
    await makeSample(folder, options, { state_dir, keep: stage.reserve_bytes, signal: stop.signal });
    return await registerSample(session, name, folder, options.type);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    stop.end();
  }
}

async function workflowOf({ config }: EngineSession, options: Options): Promise<string | AdHocWorkflow> {
  const { task, workflow, prepare = false } = options;
  if (task !== undefined && workflow !== undefined)
    throw new LongshoreError('E_USAGE', 'expected --task or --workflow, not both');
  if (task === undefined) {
    const name = workflow ?? config.registration.workflow;
    buildWorkflow(config, name, { dataset_id: 0, initiator: 'check' });
    refuseMistyped(config, name);
    return name;
  }
  await loadTask(task);
  const landing = landingOf(config);
  const at = landing.findIndex((step) => step.task === task);
  // A task that is no step of the landing, as generate_qc, builds on a landed dataset.
  const before = prepare ? landing.slice(0, at === -1 ? landing.length : at) : [];
  return { name: `test ${task}`, steps: [...before, landing[at] ?? { name: task, task }] };
}

const landingOf = (config: Config) => config.workflow_registry[config.registration.workflow]?.steps ?? [];

async function registerSample(
  { store }: EngineSession,
  name: string,
  origin_path: string,
  type: string,
): Promise<Dataset> {
  const dataset = { name, type, origin_path, create_method: 'TEST' as const };
  const [answer] = await store.catalog.register([{ dataset }], currentUser());
  if (answer?.outcome === 'created') return answer.dataset;
  throw answer?.outcome === 'errored'
    ? answer.error
    : new LongshoreError('E_DATASET_EXISTS', `a dataset ${name} is there already`);
}

/** Until it and what follows it have ended, the workflow itself first; Ctrl-C leaves them running. */
async function watchIt(
  { config, store }: EngineSession,
  { id, name, dataset_id }: WorkflowDocument,
  { folder, json }: { folder: string; json: boolean },
): Promise<Followed[]> {
  const leaving = new AbortController();
  const leave = (): void => leaving.abort();
  process.once('SIGINT', leave).once('SIGTERM', leave);
  const next = config.workflow_registry[name ?? '']?.then ?? [];
  const followed = await follow({
    store,
    workflow_ids: async () => {
      const { results } = await store.records.listWorkflows({
        dataset_id: dataset_id ?? 0,
        sort_order_asc: true,
        limit: 50,
      });
      return results.map(({ workflow }) => workflow.id);
    },
    out: json ? process.stderr : process.stdout,
    signal: leaving.signal,
    finished: (all) => {
      const first = all.find((one) => one.id === id)?.workflow.status ?? 'PENDING';
      if (first === 'FAILURE' || first === 'REVOKED') return true;
      const begun = new Set(all.map((one) => one.workflow.name));
      return all.every((one) => isDone(one.workflow.status)) && next.every((one) => begun.has(one));
    },
  });
  process.off('SIGINT', leave).off('SIGTERM', leave);
  if (!leaving.signal.aborted) return followed;
  throw new LongshoreError('E_WORKFLOW_STATE', `no longer following workflow ${id}; it goes on without you`, {
    fields: { workflow_id: id, dataset_id, folder },
    hint: `See it with \`longshore show ${id}\`, stop it with \`longshore revoke ${id}\`. ${kept(folder)} when it has ended.`,
  });
}

async function report(
  session: EngineSession,
  end: Followed,
  dataset: Dataset,
  { options, folder, cleaned }: { options: Options; folder: string; cleaned: boolean },
): Promise<void> {
  const { workflow } = end;
  const step = currentStep(workflow);
  const failure = failureOf(step?.last_task_run);
  const states = (await session.store.catalog.states(dataset.id)).map(({ state }) => state).toReversed();
  const advice = failure === null ? null : adviceOf(session, options, failure);
  if (options.json)
    return printJson({ workflow, dataset_id: dataset.id, folder, states, failure, advice, cleaned });
  const out = process.stdout;
  const left = cleaned ? 'The dataset was deleted again.' : `Dataset ${dataset.id} is kept. ${kept(folder)}.`;
  const result = workflow.steps.at(-1)?.last_task_run?.result;
  if (workflow.status === 'SUCCESS')
    out.write(
      `done in ${duration(elapsedOf(workflow))}, result ${JSON.stringify(result)}, states ${states.join(' → ')}. ${left}\n`,
    );
  else if (failure !== null)
    out.write(
      `${failureText(failure)}\n${asTyped(advice ?? '')}\nMore: npx longshore show ${workflow.id}, npx longshore logs ${workflow.id}. ${left}\n`,
    );
  else out.write(`${workflow.status}. ${left}\n`);
}

const kept = (folder: string): string =>
  `${folder} stays; \`npm run enqueue-test -- --clean\` removes it with its dataset`;

/** A task alone meets a dataset that nothing has been done with; what is to be done for one that is meant to land is no help. */
function adviceOf({ config }: EngineSession, { task, prepare }: Options, failure: TaskFailure): string {
  const at = task === undefined ? 0 : landingOf(config).findIndex((step) => step.task === task);
  if (prepare || at === 0) return failure.hint;
  const advice = `With --prepare the steps that ${task} builds on run first.`;
  return at === -1 ? `${failure.hint} ${advice}` : advice;
}

function size(text: string): number {
  const value = parseBytes(text);
  if (value === null) throw new InvalidArgumentError('Expected a size, as 10MB or 4096.');
  return value;
}

function wholeNumber(text: string): number {
  if (/^[1-9][0-9]{0,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number from 1 to 999999.');
}

function jsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // Told below: whatever is wrong with it, an object was expected.
  }
  throw new InvalidArgumentError('Expected a JSON object.');
}

await runProgram(program);
