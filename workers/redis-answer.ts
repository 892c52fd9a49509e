/** What Redis itself says when it refuses, and what a person does about it. */

/** A Redis that is there and does not do what it is asked to, by the first word of its answer. */
const REDIS_REFUSALS: Readonly<Record<string, { state: string; remedy: string }>> = {
  OOM: {
    state: 'Redis is full',
    remedy: 'Give it more memory (maxmemory); everything goes on by itself then.',
  },
  MISCONF: {
    state: 'Redis cannot write to its disk',
    remedy: 'Free space there; everything goes on by itself then.',
  },
  READONLY: {
    state: 'Redis is a read-only replica',
    remedy: 'Point REDIS_URL to the primary, or make this one the primary (REPLICAOF NO ONE).',
  },
  NOREPLICAS: {
    state: 'Redis misses replicas',
    remedy: 'Bring them back, or lower min-replicas-to-write; everything goes on by itself then.',
  },
  LOADING: {
    state: 'Redis is reading its data',
    remedy: 'Wait until it has; everything goes on by itself then.',
  },
  NOAUTH: { state: 'Redis wants a password', remedy: 'Set QUEUE_USER and QUEUE_PASS, or both in REDIS_URL.' },
  WRONGPASS: {
    state: 'Redis refuses user and password',
    remedy: 'Correct QUEUE_USER and QUEUE_PASS, or both in REDIS_URL.',
  },
  NOPERM: {
    state: 'Redis forbids this user what Longshore needs',
    remedy: 'Allow it all commands on keys of the configured prefix.',
  },
};

/**
 * What Redis itself said, null if it is not Redis that speaks. Of a transaction that it discarded: why. Its parts carry that,
 * except on a connection that sends again what a replica refused (queue/connection.ts): there they were given up with it.
 */
export function redisAnswer(error: unknown): string | null {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return null;
  const { previousErrors } = error as { previousErrors?: unknown };
  if (!error.message.startsWith('EXECABORT') || !Array.isArray(previousErrors)) return error.message;
  const parts = previousErrors.filter((part) => part instanceof Error);
  const refused = parts.find(({ name }) => name === 'ReplyError');
  if (refused !== undefined) return refused.message;
  return parts.some(({ name }) => name === 'AbortError')
    ? "READONLY You can't write against a read only replica."
    : error.message;
}

/** The first word of what Redis said. */
export const redisWord = (error: unknown): string => redisAnswer(error)?.split(' ', 1)[0] ?? '';

/** User, password or rights are wrong, and no wait makes them right. */
export const deniedByRedis = (error: unknown): boolean =>
  ['NOAUTH', 'WRONGPASS', 'NOPERM'].includes(redisWord(error));

/** In words; the hint is null where nobody knows one. */
export function redisRefusal(error: Error): { message: string; hint: string | null } {
  const known = REDIS_REFUSALS[redisWord(error)];
  return {
    message: `${known?.state ?? 'Redis refuses'}: ${redisAnswer(error)}`,
    hint: known === undefined ? null : `${known.state}. ${known.remedy}`,
  };
}
