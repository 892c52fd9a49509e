import { LongshoreError } from '../../workers/errors.ts';
import type { Reply } from '../../workers/queue/control.ts';
import type { JobQueue } from '../../workers/queue/queues.ts';
import type { SeenWorker } from '../../workers/queue/registry.ts';
import type { QueueSide } from '../../workers/queue/side.ts';
import {
  configuredQueues,
  defaultQueue,
  isQueueName,
  queueName,
} from '../../workers/workflows/definition.ts';
import type { Outcome } from './each.ts';
import { oneLine } from './format.ts';
import { EXIT } from './program.ts';
import { currentUser, type EngineSession, withStore } from './session.ts';
import { asTyped } from './typed.ts';

export interface FleetSession extends EngineSession {
  side: QueueSide;
}

/** Opens records, queue and control channel for one command. @throws E_REDIS_UNAVAILABLE */
export async function withFleet<T>(run: (session: FleetSession) => Promise<T>): Promise<T> {
  return withStore(async (session) => {
    const [{ openQueueSide }, { createEngine }] = await Promise.all([
      import('../../workers/queue/side.ts'),
      import('../../workers/workflows/engine.ts'),
    ]);
    const side = await openQueueSide(session.config, {
      log: session.log,
      wait_seconds: 5,
      name: 'longshore-fleet',
    });
    const engine = await createEngine({ ...session, queue_side: side });
    try {
      return await run({ ...session, side, engine });
    } finally {
      await engine.close();
      await side.close();
    }
  });
}

/**
 * Workers by what a person calls them: `all`, a host, `host:pid`, or the whole name.
 *
 * @throws E_NO_WORKER when none is meant
 */
export function chosen<W extends Pick<SeenWorker, 'name' | 'host'>>(
  workers: readonly W[],
  text: string,
): W[] {
  const meant = workers.filter(
    ({ name, host }) => text === 'all' || text === name || text === host || name.endsWith(`@${text}`),
  );
  if (meant.length > 0) return meant;
  if (workers.length === 0) throw new LongshoreError('E_NO_WORKER', 'no worker has said that it is there');
  throw new LongshoreError('E_NO_WORKER', `no worker or host is called "${text}"`, {
    fields: { target: text },
    hint: `Expected all, or one of ${workers.map(({ name }) => name).join(', ')}, or a host.`,
  });
}

/**
 * The queue of that name. BullMQ notes each queue that is merely opened, so that its note says nothing: it has to be
 * configured, served by a worker, or hold jobs (of an older configuration, of a workflow made for one run) or a pause.
 *
 * @throws E_USAGE
 */
export async function knownQueue(
  { config, side }: FleetSession,
  text: string | undefined,
): Promise<JobQueue> {
  const name = text === undefined ? defaultQueue(config) : queueName(config, text);
  if (!isQueueName(name)) throw noQueue(name);
  const queue = side.queues.get(name);
  const workers = await side.registry.list();
  const served = workers.some(({ queues }) => queues.some((one) => one.queue === name));
  if (served || configuredQueues(config).includes(name) || (await queue.isPaused())) return queue;
  if (Object.values(await queue.getJobCounts()).some((jobs) => jobs > 0)) return queue;
  throw noQueue(name);
}

const noQueue = (name: string): LongshoreError =>
  new LongshoreError('E_USAGE', `no step and no worker has a queue "${oneLine(name)}"`, {
    hint: 'The queues there are stand in `longshore fleet`.',
  });

export interface Ordered {
  order: string;
  /** For a person: what an answer means. */
  tell: (reply: Reply) => string;
  args?: Record<string, unknown>;
  wait_seconds: number;
  json?: boolean | undefined;
  dry_run?: boolean | undefined;
}

/** Gives an order: what each worker answered, and those that did not, which a person is told on stderr. */
export async function give(
  { side }: FleetSession,
  to: readonly SeenWorker[],
  { order, tell, args = {}, wait_seconds, json, dry_run }: Ordered,
): Promise<Outcome> {
  const names = to.map(({ name }) => name);
  if (dry_run)
    return {
      json: { dry_run: true, would: order, args, workers: names },
      text: names.map((name) => `would ${order} ${name} (dry run: nothing was changed)`).join('\n'),
    };
  const { replies, silent } = await side.control.ask(
    order,
    { ...args, actor: currentUser() },
    { to: names, wait_seconds },
  );
  for (const name of json ? [] : silent)
    process.stderr.write(`${name}  no answer within ${wait_seconds} s\n`);
  const lines = replies.map((reply) => `${reply.worker}  ${textOf(order, reply, to, tell)}`);
  const done = replies.every(({ outcome }) => outcome === 'done');
  return {
    json: { order, replies, silent },
    ...(lines.length > 0 ? { text: lines.join('\n') } : {}),
    code: silent.length > 0 ? EXIT.unavailable : done ? EXIT.ok : EXIT.failed,
  };
}

function textOf(
  order: string,
  reply: Reply,
  to: readonly SeenWorker[],
  tell: (reply: Reply) => string,
): string {
  if (reply.outcome === 'done') return tell(reply);
  if (reply.outcome === 'failed')
    return `${reply.error?.code}: ${reply.error?.message} ${asTyped(reply.error?.hint ?? '')}`;
  const release = to.find(({ name }) => name === reply.worker)?.release;
  return `does not know the order "${order}"; it runs ${release?.version ?? '?'} (${release?.code ?? '?'})`;
}
