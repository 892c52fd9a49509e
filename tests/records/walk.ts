import { randomUUID } from 'node:crypto';
import type { Random } from '../../bench/chaos/random.ts';
import type { AttemptKey, Claim, Finish, Records, WorkflowDocument } from '../../workers/records/contract.ts';
import { deriveStatus } from '../../workers/workflows/status.ts';
import type { Call } from '../support/walk.ts';
import { failure } from './fixture.ts';
import { makeWorkflow } from './workflow.ts';

/** A back end on the walk. */
export interface Keeper {
  readonly records: Records;
  /** Attempts that it has given out: task ids are its own, so they are named by their place here. */
  readonly keys: AttemptKey[];
}

/** What has been made so far. */
interface Ground {
  readonly random: Random;
  readonly workflows: WorkflowDocument[];
  /** More than there may be: a claim can be refused. */
  claims: number;
}

type Step = Call<Keeper> & {
  /** Which workflow it is about. */
  readonly about?: number;
};

type Move = (ground: Ground) => Step;

const WORKERS = ['w1', 'w2', 'w3'];
const POLICY = { max_losses: 2 };
const NEVER: AttemptKey = { task_id: '00000000-0000-4000-8000-000000000000', number: 1 };
const NEXT_ATTEMPT = new Date(Date.UTC(2026, 5, 1)).toISOString();

/** What people, workers and processes do to the records of a few workflows; after each call a look at what it was about. */
export function* callsOnRecords(random: Random, count: number): Generator<Call<Keeper>> {
  const ground: Ground = { random, workflows: [], claims: 0 };
  for (let made = 0; made < count; made++) {
    const move = ground.workflows.length === 0 ? create : (random.pick(OFTEN) ?? create);
    const { about, ...call } = move(ground);
    yield call;
    const workflow = ground.workflows[about ?? -1];
    if (workflow !== undefined) yield { said: '', make: ({ records }) => all(records, workflow) };
  }
  yield { said: 'what all of it has left', make: ({ records }) => overview(records) };
}

/** All that is recorded of a workflow, which has to agree with itself as well. */
async function all(records: Records, { id }: WorkflowDocument): Promise<unknown> {
  const found = await records.workflowWithRuns(id, { prev_runs: true });
  if (found === null) return null;
  const { workflow, last_runs, prev_runs = [] } = found;
  const runs = [...prev_runs.flat(), ...last_runs].filter((run) => run !== null);
  const attempts = (await Promise.all(runs.map(({ _id }) => records.attempts(_id)))).flat();
  const open = attempts.filter(({ date_end }) => date_end === null);
  const { status } = deriveStatus(last_runs.map((run) => run?.status ?? null));
  const current = await Promise.all(attempts.map((key) => records.isCurrent(key)));
  const itself = {
    cached_as_derived: workflow._status === status,
    open: open.length,
    current: current.filter(Boolean).length,
  };
  if (!itself.cached_as_derived || open.length > 1 || itself.current !== open.length)
    throw new Error(`${workflow._status} is kept, the runs say ${status}: ${JSON.stringify(itself)}`);
  return { ...found, attempts, current };
}

async function overview(records: Records): Promise<unknown> {
  const page = (query: Parameters<Records['listWorkflows']>[0]) =>
    records.listWorkflows({ limit: 100, ...query }, { prev_runs: true });
  return {
    lists: [
      await page({}),
      await page({ status: 'ACTIVE', sort_order_asc: true }),
      await page({ status: 'EXCEPTION' }),
      await page({ status: 'DONE', skip: 1, limit: 2 }),
      await page({ revoked: true }),
      await page({ dataset_id: 7 }),
      await page({ names: ['integrated'], status: 'FAILURE' }),
    ],
    counts: await records.countWorkflows('longshore-test'),
    names: await records.stepNames(),
    live: await records.liveWorkflows({}),
    old: await records.oldWorkflows(
      { app_id: 'longshore-test', names: ['integrated', 'stage'], created_before: '2999' },
      { limit: 100 },
    ),
    clean: (await records.cleanRuns({ task: 'task_of_first', limit: 100 })).length,
    audit: await records.auditLog({ limit: 1_000 }),
  };
}

const create: Move = ({ random, workflows }) => {
  const again = random.next() < 0.2 ? random.pick(workflows) : undefined;
  const document = again ?? newWorkflow(random, workflows.length);
  const alone = random.next() < 0.3;
  // One that is refused because another is live is not there: calls about it are about nothing.
  const about = again === undefined ? workflows.push(document) - 1 : workflows.indexOf(again);
  return {
    said: `create ${about}${again === undefined ? '' : ' again'}${alone ? ', alone' : ''}`,
    about,
    make: ({ records }) => records.createWorkflow(document, { alone }),
  };
};

function newWorkflow(random: Random, number: number): WorkflowDocument {
  const names = ['first', 'second', 'third'].slice(0, 1 + random.below(3));
  return makeWorkflow({
    name: random.pick(['integrated', 'stage']) ?? null,
    dataset_id: random.pick([7, 8, null]) ?? null,
    start_kwargs: random.pick([{}, { force: true }]) ?? {},
    created_at: new Date(Date.UTC(2026, 0, 1) + number * 1_000).toISOString(),
    steps: names.map((name) => ({
      name,
      kwargs: random.pick([{}, { level: 'stream' }]) ?? {},
      ...(random.next() < 0.2 ? { needs: ['tape'] } : {}),
    })),
  });
}

const claim: Move = (ground) => {
  const { random, workflows } = ground;
  const about = random.below(workflows.length);
  const { id = '', steps = [] } = workflows[about] ?? {};
  const index = random.below(steps.length + (random.next() < 0.05 ? 1 : 0));
  const worker = random.pick(WORKERS) ?? '';
  const code = { digest: 'd', package: '1', commit: null };
  const process = random.next() < 0.3 ? { pid: 11, pgid: 11, hostname: 'node-1', code } : undefined;
  const order: Claim = { workflow_id: id, index, worker, host: 'node-1', process };
  ground.claims += 1;
  return {
    said: `claim step ${index} of ${about} for ${worker}${process === undefined ? '' : ', with its process'}`,
    about,
    make: async ({ records, keys }) => {
      const verdict = await records.claim(order, POLICY);
      if (verdict.verdict !== 'run') return verdict;
      keys.push(verdict.key);
      // A back end that has more of it at hand may tell more.
      const { name, app_id, dataset_id } = verdict.workflow;
      return { ...verdict, workflow: { id: verdict.workflow.id, name, app_id, dataset_id } };
    },
  };
};

/** Most often of one of the newest attempts, sometimes of one that is long over, or was never given out. */
function ofAttempt(
  { random, claims }: Ground,
  said: string,
  call: (records: Records, key: AttemptKey) => Promise<unknown>,
): Step {
  const back = random.next() < 0.8 ? 1 + random.below(3) : 1 + random.below(claims + 1);
  return {
    said: `${said}, of the attempt ${back} from the end`,
    make: ({ records, keys }) => call(records, keys.at(-back) ?? NEVER),
  };
}

const running: Move = (ground) =>
  ofAttempt(ground, 'its process', (records, key) =>
    records.running(key, { pid: 12, pgid: 12, hostname: 'node-2' }),
  );

const progress: Move = (ground) => {
  const done = ground.random.below(100);
  return ofAttempt(ground, `${done} done`, (records, key) => records.progress(key, { name: 'bytes', done }));
};

const finish: Move = (ground) => {
  const { random } = ground;
  const later = { reason: 'waits', next_attempt_at: NEXT_ATTEMPT };
  const then = [newWorkflow(random, 1_000 + random.below(3))];
  const success: Finish = { outcome: 'success', result: [random.below(9)] };
  const ends: readonly Finish[] = [
    success,
    success,
    success,
    success,
    { ...success, then },
    { outcome: 'retry', error: failure, ...later },
    { outcome: 'failure', error: failure },
    { outcome: 'postponed', ...later },
    { outcome: 'postponed', ...later, result: { waits: 'for space' }, error: failure },
    { outcome: 'lost', reason: 'gone' },
    { outcome: 'lost', reason: 'gone', blame: 0.5 },
  ];
  const end = random.pick(ends) ?? success;
  const said = `the end: ${end.outcome}${'then' in end ? ' with a follower' : ''}${'blame' in end ? ', half to blame' : ''}`;
  return ofAttempt(ground, said, (records, key) => records.finish(key, end));
};

/** Of a workflow, and now and then of one that never was. */
function ofWorkflow(
  { random, workflows }: Ground,
  said: string,
  call: (records: Records, id: string) => Promise<unknown>,
): Step {
  const about = random.next() < 0.03 ? workflows.length : random.below(workflows.length);
  const { id } = workflows[about] ?? { id: randomUUID() };
  return { said: `${said}: ${about}`, about, make: ({ records }) => call(records, id) };
}

const pause: Move = (ground) => {
  const { random } = ground;
  const options = {
    actor: 'ann',
    take_out: random.next() < 0.4,
    ...(random.next() < 0.3 ? { reason: 'the disk' } : {}),
  };
  const which = random.pick(['', '', '', ' as it is', ' under another id']);
  return ofWorkflow(ground, `${options.take_out ? 'revoke' : 'pause'}${which}`, async (records, id) => {
    if (which === '') return records.pause(id, options);
    const found = which === ' as it is' ? await records.workflowWithRuns(id) : null;
    const step = found?.workflow.steps.find((_, at) => found.last_runs[at]?.status !== 'SUCCESS');
    return records.pause(id, { ...options, task_id: step?.next_task_id ?? NEVER.task_id });
  });
};

const resume: Move = (ground) => {
  const { random } = ground;
  const force = random.next() < 0.3;
  const lock_seconds = random.next() < 0.5 ? 0 : 3_600;
  const given = random.next() < 0.3 ? { args: [random.below(99)] } : {};
  const said = `resume${force ? ' by force' : ''}${'args' in given ? ' with arguments' : ''}, locked for ${lock_seconds} s`;
  return ofWorkflow(ground, said, (records, id) =>
    records.resume(id, { actor: 'bob', force, lock_seconds, ...given }),
  );
};

const prioritize: Move = (ground) => {
  const priority = ground.random.below(10);
  return ofWorkflow(ground, `priority ${priority}`, (records, id) =>
    records.prioritize(id, { actor: 'cy', priority }),
  );
};

const remove: Move = (ground) => {
  const unless_running = ground.random.next() < 0.5;
  return ofWorkflow(ground, `delete${unless_running ? ' unless it runs' : ''}`, (records, id) =>
    records.deleteWorkflow(id, { unless_running }),
  );
};

/** Each as often as it comes. */
const OFTEN: readonly Move[] = (
  [
    [create, 3],
    [claim, 14],
    [running, 3],
    [progress, 3],
    [finish, 12],
    [pause, 4],
    [resume, 6],
    [prioritize, 1],
    [remove, 1],
  ] as const
).flatMap(([move, times]) => Array.from({ length: times }, () => move));
