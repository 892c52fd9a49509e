import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Store } from '../store.ts';
import type { Engine } from '../workflows/engine.ts';
import { type App, newApp } from './app.ts';
import { requireToken } from './auth.ts';
import { readPublicKey } from './keys.ts';
import { describeRoutes } from './openapi.ts';
import { watchMethods } from './methods.ts';
import { createOperations } from './operations.ts';
import { addChanging } from './routes/changing.ts';
import { addHealth } from './routes/health.ts';
import { addReading } from './routes/reading.ts';
import { addTasks } from './routes/tasks.ts';

export interface GatewayParts {
  config: Config;
  store: Store;
  /** Gives up soon on a Redis that does not answer (`wait_seconds`): a caller waits for each answer. */
  engine: Engine;
  log: Logger;
  /** Of this release, for the OpenAPI page. */
  version: string;
  /** See {@link createOperations}. */
  stuck_seconds?: number;
}

/**
 * The workflow server, not yet listening.
 *
 * @throws E_GATEWAY_KEY when there is no public key to check tokens with
 */
export async function createGateway(parts: GatewayParts): Promise<App> {
  const { config, store, engine, log, version, stuck_seconds } = parts;
  const public_key = readPublicKey(config);
  const { records } = store;
  const app = newApp(config, log);
  const refuseOtherMethods = watchMethods(app);
  await describeRoutes(app, config, version);
  addHealth(app);
  await app.register(async (guarded: App) => {
    requireToken(guarded, config, public_key);
    addReading(guarded, { config, engine, records });
    addTasks(guarded, records);
    addChanging(guarded, createOperations({ config, engine, records, log, stuck_seconds }));
  });
  refuseOtherMethods();
  await app.ready();
  return app;
}

/** @returns the address, as `http://127.0.0.1:5001`. @throws E_PORT */
export async function listen(app: App, { host, port }: { host: string; port: number }): Promise<string> {
  try {
    return await app.listen({ host, port });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new LongshoreError('E_PORT', `cannot listen on ${host}, port ${port}: ${code}`, {
      fields: { host, port },
      cause,
    });
  }
}
