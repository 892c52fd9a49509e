import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { type Config, configOrExit, variable } from '../../config/index.ts';
import { exactSizes } from '../../workers/dataset/byte-size.ts';
import { createLogger, type Logger } from '../../workers/log.ts';
import type { QueueSide } from '../../workers/queue/side.ts';
import { openStore, type Store } from '../../workers/store.ts';
import type { Engine } from '../../workers/workflows/engine.ts';

export interface Session {
  config: Config;
  store: Store;
  /** To stderr: stdout is the command's result. Quiet below warnings unless LOG_LEVEL says otherwise. */
  log: Logger;
}

export interface EngineSession extends Session {
  engine: Engine;
}

const commandLog = (): Logger =>
  createLogger('longshore', {}, { to: 2, level: variable('LOG_LEVEL') || 'warn' });

/** Opens the records for one command and closes them whatever happens. No Redis is needed. */
export async function withStore<T>(run: (session: Session) => Promise<T>): Promise<T> {
  const config = await configOrExit();
  const log = commandLog();
  const store = await openStore(config);
  try {
    return await run({ config, store, log });
  } finally {
    await store.close();
  }
}

/** As {@link withStore}, with the queue. @throws E_REDIS_UNAVAILABLE */
export async function withEngine<T>(run: (session: EngineSession) => Promise<T>): Promise<T> {
  return withStore(async (session) => {
    // Loaded here, not above: BullMQ takes 0.2 s, and most commands only look into the records.
    const { createEngine } = await import('../../workers/workflows/engine.ts');
    const engine = await createEngine({ ...session, wait_seconds: 5 });
    try {
      return await run({ ...session, engine });
    } finally {
      await engine.close();
    }
  });
}

/** What Redis knows, without the records. @throws E_REDIS_UNAVAILABLE */
export async function withQueue<T>(
  run: (session: Omit<Session, 'store'> & { side: QueueSide }) => Promise<T>,
): Promise<T> {
  const config = await configOrExit();
  const log = commandLog();
  const { openQueueSide } = await import('../../workers/queue/side.ts');
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'longshore-command' });
  try {
    return await run({ config, log, side });
  } finally {
    await side.close();
  }
}

/** For a dry run that asks the catalog: it makes nothing, no empty catalog either, where there is none yet. */
export async function withStoreIfAny<T>(
  config: Config,
  run: (store: Store | null) => Promise<T>,
): Promise<T> {
  const { backend, path } = config.catalog;
  if (backend === 'sqlite' && !existsSync(path)) return run(null);
  const store = await openStore(config);
  try {
    return await run(store);
  } finally {
    await store.close();
  }
}

/** Who stands in the audit trail for what is done by hand. */
export function currentUser(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? '?'}`; // A container's user without a passwd entry.
  }
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, exactSizes, 2)}\n`);
}
