import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { type Config, commandConfig, variable } from '../../config/index.ts';
import { exactSizes } from '../../workers/dataset/byte-size.ts';
import { LongshoreError } from '../../workers/errors.ts';
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

export const commandLog = (): Logger =>
  createLogger('longshore', {}, { to: 2, level: variable('LOG_LEVEL') || 'warn' });

export interface Opening {
  /** Catalog and records are made where there are none yet. */
  readonly make?: boolean;
}

/**
 * Opens the records for one command and closes them whatever happens. No Redis is needed.
 *
 * @throws E_NO_CATALOG where there is none yet: with a mistyped LONGSHORE_HOME an empty one would be made and looked at
 */
export async function withStore<T>(
  run: (session: Session) => Promise<T>,
  { make = false }: Opening = {},
): Promise<T> {
  const config = await commandConfig();
  const log = commandLog();
  if (!make && lacksCatalog(config))
    throw new LongshoreError('E_NO_CATALOG', `there is no catalog at ${config.catalog.path}`, {
      fields: { path: config.catalog.path },
    });
  const store = await openStore(config);
  try {
    return await run({ config, store, log });
  } finally {
    await store.close();
  }
}

/** As {@link withStore}, with the queue. @throws E_REDIS_UNAVAILABLE */
export async function withEngine<T>(
  run: (session: EngineSession) => Promise<T>,
  opening: Opening = {},
): Promise<T> {
  return withStore(async (session) => {
    // Loaded here, not above: BullMQ takes 0.2 s, and most commands only look into the records.
    const { createEngine } = await import('../../workers/workflows/engine.ts');
    const engine = await createEngine({ ...session, wait_seconds: 5 });
    try {
      return await run({ ...session, engine });
    } finally {
      await engine.close();
    }
  }, opening);
}

/** What Redis knows, without the records. @throws E_REDIS_UNAVAILABLE */
export async function withQueue<T>(
  run: (session: Omit<Session, 'store'> & { side: QueueSide }) => Promise<T>,
): Promise<T> {
  const config = await commandConfig();
  const log = commandLog();
  const { openQueueSide } = await import('../../workers/queue/side.ts');
  const side = await openQueueSide(config, { log, wait_seconds: 5, name: 'longshore-command' });
  try {
    return await run({ config, log, side });
  } finally {
    await side.close();
  }
}

const lacksCatalog = ({ catalog: { backend, path } }: Config): boolean =>
  backend === 'sqlite' && !existsSync(path);

/** For a dry run that asks the catalog: it makes nothing, no empty catalog either, where there is none yet. */
export async function withStoreIfAny<T>(
  config: Config,
  run: (store: Store | null) => Promise<T>,
): Promise<T> {
  if (lacksCatalog(config)) return run(null);
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
