import type { Redis } from 'ioredis';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { type Chains, createChains } from './chain.ts';
import { connectRedis } from './connection.ts';
import { type Control, createControl } from './control.ts';
import { openQueues, type Queues } from './queues.ts';
import { createRegistry, type Registry } from './registry.ts';

/** Everything of a process that talks to Redis, over one connection (subscribing takes a second one). */
export interface QueueSide {
  readonly redis: Redis;
  readonly queues: Queues;
  readonly chains: Chains;
  readonly control: Control;
  readonly registry: Registry;
  close(): Promise<void>;
}

/** @throws E_REDIS_UNAVAILABLE when Redis does not answer within `wait_seconds` */
export async function openQueueSide(
  config: Config,
  { log, wait_seconds, name }: { log: Logger; wait_seconds: number; name: string },
): Promise<QueueSide> {
  const redis = await connectRedis(config, { log, wait_seconds, name });
  const queues = openQueues(config, redis, log);
  const control = createControl(config, redis, log);
  return {
    redis,
    queues,
    chains: createChains(config, queues, redis),
    control,
    registry: createRegistry(config, redis),
    close: async () => {
      control.close();
      await queues.close();
      redis.disconnect();
    },
  };
}
