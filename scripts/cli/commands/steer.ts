import { type Command, InvalidArgumentError } from 'commander';
import type { Reply } from '../../../workers/queue/control.ts';
import { type Outcome, tryEach } from '../each.ts';
import { chosen, type FleetSession, give, knownQueue, withFleet } from '../fleet-session.ts';
import { dryRunBesideArguments, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson } from '../session.ts';
import { waitOption } from './fleet.ts';
import { counted } from '../format.ts';

export interface SteerOptions {
  wait: number;
  json?: boolean;
  dryRun?: boolean;
}

/** grow, shrink, shutdown, pause-queue, resume-queue: what changes workers and queues. */
export function addSteer(program: Command): void {
  for (const order of ['grow', 'shrink'] as const) addResize(program, order);
  steeringCommand(program, 'shutdown', '<worker...>', 'let workers end, and not be started again by pm2', [
    'longshore shutdown node7 node8',
    'longshore shutdown all --immediate',
    'longshore shutdown node7:4711 --restart',
  ])
    .option(
      '--immediate',
      'hand running jobs back to the queue now, instead of waiting until they have ended',
    )
    .option('--restart', 'pm2 starts them again')
    .addHelpText('after', '\nA worker that was told to stay down is started by `npx pm2 restart worker`.')
    .action((targets: string[], options: SteerOptions & { immediate?: boolean; restart?: boolean }) => {
      const { immediate = false, restart = false } = options;
      return steer(targets, options, (session, target) =>
        order(session, target, options, {
          order: 'shutdown',
          args: { immediate, restart },
          tell: ({ result }) =>
            runningOf(result) === 0
              ? 'leaves'
              : immediate
                ? `leaves, and hands ${counted(runningOf(result), 'job')} back`
                : `leaves when ${counted(runningOf(result), 'job has', 'jobs have')} ended; --immediate hands ${runningOf(result) === 1 ? 'it' : 'them'} back`,
        }),
      );
    });
  for (const action of ['pause', 'resume'] as const) addQueue(program, action);
}

/** Of several hosts or workers each is told by itself: one that is not there keeps no order from the others. */
export async function steer(
  targets: readonly string[],
  { json }: SteerOptions,
  one: (session: FleetSession, target: string) => Promise<Outcome>,
): Promise<void> {
  process.exitCode = await withFleet((session) =>
    tryEach(targets, { list: 'orders', json }, (target) => one(session, target)),
  );
}

export function steeringCommand(
  program: Command,
  name: string,
  targets: '<worker>' | '<worker...>',
  description: string,
  examples: string[],
): Command {
  return program
    .command(name)
    .argument(targets, 'a worker (host:pid, or its whole name), a host, or all')
    .description(description)
    .addOption(waitOption())
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText('after', helpTail(examples));
}

function addResize(program: Command, name: 'grow' | 'shrink'): void {
  const [what, effect] =
    name === 'grow'
      ? ['more', 'They are there at once, and the maximum rises; idle ones go again as always.']
      : ['fewer', 'The maximum falls, down to 1; jobs that run go on.'];
  steeringCommand(program, name, '<worker>', `give workers ${what} slots, until they end`, [
    `longshore ${name} node7`,
    `longshore ${name} all 2`,
  ])
    .argument('[n]', 'how many', slots, 1)
    .option('--queue <queue>', 'of workers that serve several; default: their first')
    .addHelpText('after', `\n${effect}`)
    .action((target: string, by: number, options: SteerOptions & { queue?: string }) => {
      const args = { by, ...(options.queue === undefined ? {} : { queue: options.queue }) };
      return steer([target], options, (session) =>
        order(session, target, options, { order: name, args, tell: ({ result }) => slotsText(result) }),
      );
    });
}

function slots(text: string): number {
  if (/^[1-9][0-9]{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number from 1 to 999.');
}

function slotsText(result: unknown): string {
  const { queue, before, slots: now, min, max } = result as Record<string, string | number>;
  return `${before} → ${counted(Number(now), 'slot')} for ${queue} (${min} to ${max})`;
}

export const runningOf = (result: unknown): number => (result as { running: number }).running;

export async function order(
  session: FleetSession,
  target: string,
  { wait, json, dryRun }: SteerOptions,
  given: { order: string; args?: Record<string, unknown>; tell: (reply: Reply) => string },
): Promise<Outcome> {
  const to = chosen(await session.side.registry.list(), target);
  return give(session, to, { ...given, wait_seconds: wait, json, dry_run: dryRun });
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
    .addOption(dryRunBesideArguments())
    .addOption(jsonOption())
    .addHelpText('after', helpTail([`longshore ${action}-queue`, `longshore ${action}-queue tape.q`]))
    .action((name: string | undefined, options: SteerOptions) =>
      withFleet((session) => setQueue(session, action, name, options)),
    );
}

async function setQueue(
  session: FleetSession,
  action: 'pause' | 'resume',
  text: string | undefined,
  { json, dryRun }: SteerOptions,
): Promise<void> {
  const queue = await knownQueue(session, text);
  const { name } = queue;
  const before = await queue.isPaused();
  if (!dryRun) {
    await (action === 'pause' ? queue.pause() : queue.resume());
    await session.store.records.audit({
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
      ? `${name} is paused: nothing of it is begun until npx longshore resume-queue ${name}`
      : `${name} is open`;
  process.stdout.write(`${told}\n`);
}
