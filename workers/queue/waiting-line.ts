/** Jobs that found a resource taken. They look again by themselves after a while; who gives a permit back wakes the first. */
import type { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { JobData } from './jobs.ts';
import { holdersKey, type HolderFacts, permitIndex, permitKey } from './permits.ts';
import type { Queues } from './queues.ts';

interface Parts {
  redis: Redis;
  queues: Queues;
  prefix: string;
}

export interface ResourceView {
  resource: string;
  limit: number;
  held: (Partial<HolderFacts> & { holder: string })[];
  /** First in line first. */
  waiting: { workflow_id: string; index: number }[];
}

/** Of those that wait, so many gone ones are passed over by one who wakes the next. */
const PASSED_OVER = 20;

const lineKey = (prefix: string, resource: string): string => `${permitKey(prefix, resource)}:waiting`;
const memberOf = (job: Job<JobData>): string => `${job.queueName} ${job.id}`;

/** By the age of the workflow, so that whoever was woken and came too late keeps its place. */
export async function standInLine(
  { redis, prefix }: Pick<Parts, 'redis' | 'prefix'>,
  resource: string,
  job: Job<JobData>,
): Promise<void> {
  await redis.zadd(lineKey(prefix, resource), job.timestamp, memberOf(job));
}

/** The first in line that still waits is due now. */
export async function wakeNext(parts: Parts, resource: string): Promise<void> {
  for (let tries = 0; tries < PASSED_OVER; tries += 1) {
    const [member] = await parts.redis.zpopmin(lineKey(parts.prefix, resource));
    if (member === undefined) return;
    const job = await jobOf(parts, member);
    if (job === undefined || !(await job.isDelayed())) continue;
    // It became due in between, which is as well.
    const woken = await job.promote().then(
      () => true,
      () => false,
    );
    if (woken) return;
  }
}

/** Every resource that is configured or held: who holds it, and who waits for it. */
export async function resourceViews(
  parts: Parts,
  configured: Readonly<Record<string, number>>,
): Promise<ResourceView[]> {
  const { redis, prefix } = parts;
  const limits = new Map(
    Object.entries(await redis.hgetall(permitIndex(prefix))).map(([name, limit]) => [name, Number(limit)]),
  );
  for (const [name, limit] of Object.entries(configured)) limits.set(name, limit);
  return Promise.all(
    [...limits].toSorted(byName).map(async ([resource, limit]) => ({
      resource,
      limit,
      held: await holdersOf(parts, resource),
      waiting: await lineOf(parts, resource),
    })),
  );
}

const byName = ([one]: [string, number], [other]: [string, number]): number => (one < other ? -1 : 1);

async function holdersOf({ redis, prefix }: Parts, resource: string): Promise<ResourceView['held']> {
  const [seconds] = await redis.time(); // Permits run out by the clock of Redis.
  const holders = await redis.zrangebyscore(permitKey(prefix, resource), Number(seconds) * 1000, '+inf');
  const known = await redis.hgetall(holdersKey(prefix, resource));
  return holders.map((holder) => ({
    ...(JSON.parse(known[holder] ?? 'null') as HolderFacts | null),
    holder,
  }));
}

/** Those that were taken out, or run by now, leave the line here. */
async function lineOf(parts: Parts, resource: string): Promise<ResourceView['waiting']> {
  const line = lineKey(parts.prefix, resource);
  const waiting = [];
  for (const member of await parts.redis.zrange(line, '0', '-1')) {
    const job = await jobOf(parts, member);
    if (job !== undefined && (await job.isDelayed())) waiting.push({ ...job.data });
    else await parts.redis.zrem(line, member);
  }
  return waiting;
}

async function jobOf({ queues }: Parts, member: string): Promise<Job<JobData> | undefined> {
  const [queue = '', id = ''] = member.split(' ', 2);
  return queues.get(queue).getJob(id);
}
