import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type Config, loadConfig, mergeLayers } from '../../config/index.ts';
import { type Processes, startProcesses } from '../../scripts/demo/processes.ts';

/** What every chaos run stands on: a folder, a configuration, and processes that are kept up as pm2 would keep them. */
export interface Ground {
  readonly folder: string;
  readonly config: Config;
  /** Of its processes. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly processes: Processes;
  readonly workers: readonly string[];
  /** The records as SQLite has them: the judge does not ask the code that is judged. */
  ask<T>(sql: string): T[];
  /** There are tables to ask. */
  ready(): boolean;
  /** The one figure of `select count(*) as n …`. */
  count(sql: string): number;
  /** Redis first, then the others. */
  start(): void;
  stop(): Promise<void>;
}

export interface GroundOptions {
  readonly folder: string;
  readonly workers: number;
  readonly watcher: boolean;
  /** Beside LONGSHORE_HOME, of which there is nothing left to decide. */
  readonly env?: Readonly<Record<string, string>>;
  readonly overrides: Readonly<Record<string, unknown>>;
  readonly tell: (line: string) => void;
}

export async function openGround(options: GroundOptions): Promise<Ground> {
  const { folder, workers: count, watcher, env: more = {}, overrides, tell } = options;
  mkdirSync(folder, { recursive: true });
  const given = JSON.parse(more.LONGSHORE_OVERRIDES || '{}') as object;
  const values: Record<string, string> = {
    APP_ENV: 'local',
    LONGSHORE_DOTENV: 'none',
    LOG_FORMAT: 'json',
    ...more,
    LONGSHORE_HOME: folder,
    REDIS_URL: '',
    LONGSHORE_OVERRIDES: JSON.stringify(mergeLayers(given, overrides)),
  };
  const { config } = await loadConfig({ environment: { values, file: null, fromFile: new Set() } });
  const env = { ...process.env, ...values };
  const processes = startProcesses({ env, logs: join(folder, 'log'), note: tell });
  const workers = Array.from({ length: count }, (_, at) => `worker-${at + 1}`);
  let records: DatabaseSync | null = null;
  const ask = <T>(sql: string): T[] => {
    records ??= new DatabaseSync(config.catalog.path, { readOnly: true, timeout: 10_000 });
    return records.prepare(sql).all() as T[];
  };
  return {
    folder,
    config,
    env,
    processes,
    workers,
    ask,
    ready: () =>
      existsSync(config.catalog.path) &&
      ask("select 1 from sqlite_master where type = 'table' and name = 'attempts'").length === 1,
    count: (sql) => ask<{ n: number }>(sql)[0]?.n ?? 0,
    start: () => {
      processes.start('redis', 'scripts/redis.ts');
      for (const name of workers) processes.start(name, 'workers/worker.ts');
      if (watcher) processes.start('watcher', 'scripts/watch.ts');
    },
    stop: async () => {
      await processes.stop();
      records?.close();
    },
  };
}
