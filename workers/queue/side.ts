import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { type Chains, createChains } from './chain.ts';
import { connectRedis } from './connection.ts';
import { type Control, createControl } from './control.ts';
import { createShares, type ShareOf, type Shares } from './fair-share.ts';
import { openQueues, type Queues } from './queues.ts';
import { createRefusals, type Refusals } from './refusals.ts';
import { createRegistry, type Registry } from './registry.ts';

/** Everything of a process that talks to Redis, over one connection (subscribing takes a second one). */
export interface QueueSide {
  readonly redis: Redis;
  readonly queues: Queues;
  readonly chains: Chains;
  readonly control: Control;
  readonly registry: Registry;
  readonly shares: Shares;
  readonly refusals: Refusals;
  close(): Promise<void>;
}

export interface SideOptions {
  log: Logger;
  wait_seconds: number;
  /** See {@link connectRedis}. */
  stays?: boolean | undefined;
  name: string;
  /** Needed where workflows are put in. */
  shareOf?: ShareOf;
}

/** @throws E_REDIS_UNAVAILABLE when Redis does not answer within `wait_seconds` */
export async function openQueueSide(
  config: Config,
  { log, wait_seconds, stays, name, shareOf = async () => '' }: SideOptions,
): Promise<QueueSide> {
  const redis = await connectRedis(config, {
    log,
    wait_seconds,
    name,
    ...(stays === undefined ? {} : { stays }),
  });
  const refusals = createRefusals(redis, config.queue.prefix, log);
  const queues = openQueues(config, redis, log, refusals);
  const control = createControl(config, redis, log);
  const shares = createShares(config, { redis, queues, log, shareOf });
  return {
    redis,
    queues,
    chains: createChains(config, queues, redis, shares),
    control,
    registry: createRegistry(config, redis),
    shares,
    refusals,
    close: async () => {
      refusals.close();
      control.close();
      await queues.close();
      redis.disconnect();
    },
  };
}
