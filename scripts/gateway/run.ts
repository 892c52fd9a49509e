/** Runs the workflow server until it is told to stop. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, configOrExit } from '../../config/index.ts';
import { packageVersion } from '../../workers/fleet/code/code-version.ts';
import type { App } from '../../workers/gateway/app.ts';
import { createGateway, listen } from '../../workers/gateway/server.ts';
import { createLogger, type Logger } from '../../workers/log.ts';
import { openStore } from '../../workers/store.ts';
import { createEngine, type Engine } from '../../workers/workflows/engine.ts';

export interface GatewayOptions {
  host?: string;
  port?: number;
}

/** What a request waits for a Redis that is away, before it is answered with 503. */
const WAIT_SECONDS = 3;
/** What it waits for a MongoDB that is away; a replica set has another primary by then. */
const RECORDS_SECONDS = 15;
/** Less than the 10 s that pm2 gives before it kills. */
const CLOSE_SECONDS = 8;

/** @throws E_GATEWAY_KEY, E_PORT, or what the records say */
export async function runGateway({ host, port }: GatewayOptions): Promise<void> {
  const config = await configOrExit();
  const log = createLogger('gateway');
  const stopped = stopSignal();
  const store = await openStore(config, { patience_seconds: RECORDS_SECONDS });
  const engine = await createEngine({ config, store, log, wait_seconds: WAIT_SECONDS, stays: true });
  const version = packageVersion(join(import.meta.dirname, '../..'));
  const app = await createGateway({ config, store, engine, log, version });
  const at = { host: host ?? config.gateway.host, port: port ?? config.gateway.port };
  const address = await listen(app, at);
  log.info({ address, root_path: config.gateway.root_path }, 'gateway listening');
  warnOfOpenAddress(at.host, log);
  process.send?.('ready'); // pm2 with wait_ready.
  const signal = await stopped;
  log.info({ signal }, 'stopping: what is being answered ends first');
  await close(app, engine, log);
  await store.close();
  log.info('stopped');
}

/** A second one does not wait for what is being answered. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.once(name, () => {
        process.once(name, () => process.exit(1));
        resolve(name);
      });
    }
  });
}

async function close(app: App, engine: Engine, log: Logger): Promise<void> {
  const closed = app.close().then(() => engine.close());
  closed.catch((error: unknown) => log.error({ err: error }, 'the gateway did not close in good order'));
  const late = sleep(CLOSE_SECONDS * 1000, 'late', { ref: false });
  if ((await Promise.race([closed, late])) === 'late')
    log.warn({ seconds: CLOSE_SECONDS }, 'a request or Redis still does not end; it is given up');
}

/** Tokens travel in the clear: between machines a proxy has to speak TLS. */
function warnOfOpenAddress(host: Config['gateway']['host'], log: Logger): void {
  if (['127.0.0.1', '::1', 'localhost'].includes(host)) return;
  log.warn(
    { host },
    'the gateway can be reached from other machines, and speaks no TLS; see docs/workflow-server.md',
  );
}
