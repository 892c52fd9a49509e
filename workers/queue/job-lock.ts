import type { Redis } from 'ioredis';
import type { JobQueue } from './queues.ts';
import { patiently } from './refusals.ts';

/**
 * 1: still ours. 2: it had run out, and nobody took the job (it still stands among the active ones): ours again.
 * 0: another worker holds it, or it was given back to the queue.
 */
const HOLD = `
local holder = redis.call('get', KEYS[1])
if holder == ARGV[1] then return 1 end
if holder or not redis.call('lpos', KEYS[2], ARGV[3]) then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('srem', KEYS[3], ARGV[3])
return 2`;

export interface JobLock {
  queue: JobQueue;
  job_id: string;
  token: string;
  lock_ms: number;
}

/**
 * Proves that the lock on a job is held, taking it again if it merely ran out. Without the second part a Redis that
 * is away for longer than the lock lasts would end every task of the fleet, hours of copying included, although
 * nobody else could have taken their jobs. A Redis that refuses does not say whose the job is: hours of copying are worth the
 * wait for an answer.
 */
export async function holdLock(
  redis: Redis,
  { queue, job_id, token, lock_ms }: JobLock,
): Promise<'held' | 'regained' | 'lost'> {
  const keys = [`${queue.toKey(job_id)}:lock`, queue.toKey('active'), queue.toKey('stalled')];
  const answer = await patiently(() => redis.eval(HOLD, keys.length, ...keys, token, lock_ms, job_id));
  if (answer === 1) return 'held';
  return answer === 2 ? 'regained' : 'lost';
}
