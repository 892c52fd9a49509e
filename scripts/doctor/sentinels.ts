import { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import { parseRedisUrl } from '../../config/redis-url.ts';
import { counted } from '../cli/format.ts';
import { type Finding, finding } from './finding.ts';

const ANSWER_MS = 3_000;

interface Answer {
  readonly place: string;
  /** What it says of the quorum, or why it says nothing. */
  readonly said: string;
  readonly state: 'agrees' | 'no quorum' | 'away';
}

/** Each Sentinel of the address is asked by itself: a connection is content with the first that answers. */
export async function* sentinelFindings({ queue }: Config): AsyncGenerator<Finding> {
  const address = queue.url === null ? null : parseRedisUrl(queue.url);
  if (address?.kind !== 'sentinel') return;
  const { name, sentinels, tls } = address;
  const { sentinel_username: username, sentinel_password: password } = queue;
  const user = { ...(username === null ? {} : { username }), ...(password === null ? {} : { password }) };
  const answers = await Promise.all(
    sentinels.map(async ({ host, port }): Promise<Answer> => {
      const place = `${host}:${port}`;
      const sentinel = new Redis({
        host,
        port,
        ...user,
        ...(tls ? { tls: {} } : {}),
        lazyConnect: true,
        enableReadyCheck: false,
        retryStrategy: () => null,
        connectTimeout: ANSWER_MS,
        commandTimeout: ANSWER_MS,
      });
      let reason = '';
      sentinel.on('error', (error: Error) => {
        reason = error.message;
      });
      try {
        await sentinel.connect();
        return { place, said: String(await sentinel.call('sentinel', 'ckquorum', name)), state: 'agrees' };
      } catch (error) {
        const said = reason || (error as Error).message;
        return { place, said, state: said.startsWith('NOQUORUM') ? 'no quorum' : 'away' };
      } finally {
        sentinel.disconnect();
      }
    }),
  );
  yield judgeSentinels(answers);
}

export function judgeSentinels(answers: readonly Answer[]): Finding {
  const wrong = answers.filter(({ state }) => state !== 'agrees');
  const away = answers.filter(({ state }) => state === 'away');
  const level =
    wrong.length === 0
      ? 'ok'
      : away.length === answers.length || wrong.length > away.length
        ? 'problem'
        : 'warning';
  return finding(level, 'redis.sentinels', {
    seen:
      wrong.length === 0
        ? `${counted(answers.length, 'Sentinel')} of the address, all with a quorum`
        : wrong.map(({ place, said }) => `${place}: ${said}`).join('; '),
    expected: 'every Sentinel of the address answers, and enough of them agree for a failover',
    remedy:
      'Start those that are missing, correct REDIS_URL or QUEUE_SENTINEL_PASS; without a quorum a lost primary stays lost.',
  });
}
