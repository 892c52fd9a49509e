/** pm2 app `redis`: the embedded Redis of this state folder, where no REDIS_URL names another one. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { configOrExit } from '../config/index.ts';
import { isLongshoreError } from '../workers/errors.ts';
import { createLogger } from '../workers/log.ts';
import { type EmbeddedRedis, embeddedFolder, startEmbeddedRedis } from '../workers/queue/embedded.ts';
import { createProgram, runProgram } from './cli/program.ts';

/** Workers get the same signal at the same time, and hand their jobs back to this server before they leave. */
const WAIT_FOR_CLIENTS_MS = 10_000;

const log = createLogger('redis');

/** Until it is told to end, or its server ends. */
async function serve(): Promise<void> {
  const config = await configOrExit();
  if (config.queue.url !== null) {
    log.error('queue.url (REDIS_URL) names a Redis; there is nothing to start');
    process.exit(2);
  }

  const folder = embeddedFolder(config);
  const starting = new AbortController();
  let server: EmbeddedRedis | null = null;
  let leaving = false;
  // Before the start: a stop in its middle would leave the server behind.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (leaving) return;
      leaving = true;
      if (server === null) starting.abort();
      else void leave(server, signal);
    });
  }

  server = await startEmbeddedRedis(folder, { signal: starting.signal }).catch((error: unknown) => {
    if (leaving) process.exit(0);
    if (isLongshoreError(error)) log.error({ code: error.code, hint: error.hint }, error.message);
    else log.error({ err: error }, 'the embedded Redis did not start');
    process.exit(1);
  });
  log.info({ url: server.shown_url, server: server.pid, folder }, 'embedded Redis ready');
  process.send?.('ready');

  const { code, signal } = await server.exited;
  if (!leaving)
    log.error({ code, signal, log: join(folder, 'redis.log') }, 'the embedded Redis ended by itself');
  // In the way its server ended: whoever keeps this process up starts it again, on the same port, with its data, and may
  // tell a server that was killed from one that cannot run.
  if (!leaving && signal !== null) process.kill(process.pid, signal);
  process.exit(leaving ? 0 : 1);
}

async function leave(embedded: EmbeddedRedis, reason: string): Promise<void> {
  const client = new Redis(embedded.url, { maxRetriesPerRequest: 1 });
  client.on('error', () => undefined); // Gone already: `exited` ends this process.
  const deadline = Date.now() + WAIT_FOR_CLIENTS_MS;
  let others = await otherClients(client);
  if (others > 0) log.info({ reason, clients: others }, 'waiting for the others to leave first');
  while (others > 0 && Date.now() < deadline) {
    await sleep(100);
    others = await otherClients(client);
  }
  client.disconnect();
  await embedded.stop();
}

async function otherClients(client: Redis): Promise<number> {
  try {
    const list = await client.call('CLIENT', 'LIST', 'TYPE', 'normal');
    return String(list).trim().split('\n').length - 1;
  } catch {
    return 0;
  }
}

await runProgram(
  createProgram('redis', 'Run the embedded Redis of this state folder in the foreground; usually pm2 does.', [
    'npx node scripts/redis.ts',
  ]).action(serve),
);
