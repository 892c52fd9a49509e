import { type Command, InvalidArgumentError } from 'commander';
import type { Reply } from '../../../workers/queue/control.ts';
import { configuredQueues, defaultQueue, queueName } from '../../../workers/workflows/definition.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { chosen, type FleetSession, give, withFleet } from '../fleet-session.ts';
import { dryRunOption, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson } from '../session.ts';
import { waitOption } from './fleet.ts';

interface Options {
  wait: number;
  json?: boolean;
  dryRun?: boolean;
}

/** grow, shrink, drain, shutdown, pause-queue, resume-queue: what changes workers and queues. */
export function addSteer(program: Command): void {
  for (const order of ['grow', 'shrink'] as const) addResize(program, order);
  command(program, 'drain', 'take no more jobs, and let those that run end', [
    'longshore drain node7',
    'longshore drain node7 --undo',
    'longshore drain node7:4711',
  ])
    .option('--undo', 'take jobs again')
    .addHelpText(
      'after',
      '\nA host stays drained, also for workers that are started there later, until --undo. A single worker is drained until it ends.',
    )
    .action(async (target: string, options: Options & { undo?: boolean }) => {
      process.exitCode = await withFleet((session) => drain(session, target, options));
    });
  command(program, 'shutdown', 'let workers end, and not be started again by pm2', [
    'longshore shutdown node7',
    'longshore shutdown all --immediate',
    'longshore shutdown node7:4711 --restart',
  ])
    .option(
      '--immediate',
      'hand running jobs back to the queue now, instead of waiting until they have ended',
    )
    .option('--restart', 'pm2 starts them again')
    .addHelpText('after', '\nA worker that was told to stay down is started by `npx pm2 restart worker`.')
    .action(async (target: string, options: Options & { immediate?: boolean; restart?: boolean }) => {
      const { immediate = false, restart = false } = options;
      process.exitCode = await withFleet((session) =>
        order(session, target, options, {
          order: 'shutdown',
          args: { immediate, restart },
          tell: ({ result }) =>
            runningOf(result) === 0
              ? 'leaves'
              : immediate
                ? `leaves, and hands ${runningOf(result)} job(s) back`
                : `leaves when ${runningOf(result)} job(s) have ended; --immediate hands them back`,
        }),
      );
    });
  for (const action of ['pause', 'resume'] as const) addQueue(program, action);
}

function command(program: Command, name: string, description: string, examples: string[]): Command {
  return program
    .command(name)
    .argument('<worker>', 'a worker (host:pid, or its whole name), a host, or all')
    .description(description)
    .addOption(waitOption())
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addHelpText('after', helpTail(examples));
}

function addResize(program: Command, name: 'grow' | 'shrink'): void {
  const [what, effect] =
    name === 'grow'
      ? ['more', 'They are there at once, and the maximum rises; idle ones go again as always.']
      : ['fewer', 'The maximum falls, down to 1; jobs that run go on.'];
  command(program, name, `give workers ${what} slots, until they end`, [
    `longshore ${name} node7`,
    `longshore ${name} all 2`,
  ])
    .argument('[n]', 'how many', slots, 1)
    .option('--queue <queue>', 'of workers that serve several; default: their first')
    .addHelpText('after', `\n${effect}`)
    .action(async (target: string, by: number, options: Options & { queue?: string }) => {
      const args = { by, ...(options.queue === undefined ? {} : { queue: options.queue }) };
      process.exitCode = await withFleet((session) =>
        order(session, target, options, { order: name, args, tell: ({ result }) => slotsText(result) }),
      );
    });
}

function slots(text: string): number {
  if (/^[1-9][0-9]{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number from 1.');
}

function slotsText(result: unknown): string {
  const { queue, before, slots: now, min, max } = result as Record<string, string | number>;
  return `${before} → ${now} slots for ${queue} (${min} to ${max})`;
}

const runningOf = (result: unknown): number => (result as { running: number }).running;

async function order(
  session: FleetSession,
  target: string,
  { wait, json, dryRun }: Options,
  given: { order: string; args?: Record<string, unknown>; tell: (reply: Reply) => string },
): Promise<number> {
  const to = chosen(await session.side.registry.list(), target);
  return give(session, to, { ...given, wait_seconds: wait, json, dry_run: dryRun });
}

async function drain(
  session: FleetSession,
  target: string,
  options: Options & { undo?: boolean },
): Promise<number> {
  const { registry } = session.side;
  const workers = await registry.list();
  const hosts = target === 'all' ? new Set(workers.map(({ host }) => host)) : [target];
  // A host without a worker may be drained too: before it is switched on again.
  const known = [...hosts].filter((host) => workers.some((worker) => worker.host === host));
  const drained = await registry.drainedHosts();
  const marked = [...new Set([...known, ...drained.filter((host) => target === 'all' || host === target)])];
  if (!options.dryRun) for (const host of marked) await registry.setDrained(host, !options.undo);
  if (options.undo && marked.length > 0 && !workers.some(({ host }) => marked.includes(host))) {
    if (options.json) printJson({ order: 'undrain', hosts: marked, replies: [], silent: [] });
    else process.stdout.write(`${marked.join(', ')}: workers that are started there take jobs again\n`);
    return 0;
  }
  return order(session, target, options, {
    order: options.undo ? 'undrain' : 'drain',
    tell: ({ result }) =>
      options.undo ? 'takes jobs again' : `takes no more jobs; ${runningOf(result)} still run`,
  });
}

function addQueue(program: Command, action: 'pause' | 'resume'): void {
  const description =
    action === 'pause'
      ? 'no worker takes jobs from a queue any more; those that run go on'
      : 'workers take jobs from a queue again';
  program
    .command(`${action}-queue`)
    .argument('[queue]', 'its name; default: the queue of steps that name none')
    .description(description)
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addHelpText('after', helpTail([`longshore ${action}-queue`, `longshore ${action}-queue tape.q`]))
    .action((name: string | undefined, options: Options) =>
      withFleet((session) => setQueue(session, action, name, options)),
    );
}

async function setQueue(
  { config, side, store }: FleetSession,
  action: 'pause' | 'resume',
  text: string | undefined,
  { json, dryRun }: Options,
): Promise<void> {
  const name = text === undefined ? defaultQueue(config) : queueName(config, text);
  const queue = side.queues.get(name);
  // Of others there may be jobs or workers all the same: of an older configuration, or of a workflow made for one run.
  const known = configuredQueues(config).includes(name) || (await queue.getMeta()).version !== undefined;
  if (!known) throw new LongshoreError('E_USAGE', `no step and no worker has a queue "${name}"`);
  const before = await queue.isPaused();
  if (!dryRun) {
    await (action === 'pause' ? queue.pause() : queue.resume());
    await store.records.audit({
      actor: currentUser(),
      action: `queue.${action}`,
      subject: `queue:${name}`,
      details: {},
    });
  }
  const done = { queue: name, paused: action === 'pause', was_paused: before };
  if (json) return printJson(dryRun ? { dry_run: true, would: `${action}-queue`, ...done } : done);
  const told = dryRun
    ? `would ${action} ${name} (dry run: nothing was changed)`
    : action === 'pause'
      ? `${name} is paused: nothing of it is begun until longshore resume-queue ${name}`
      : `${name} is open`;
  process.stdout.write(`${told}\n`);
}
