import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { inject, onTestFinished } from 'vitest';
import { type Config, loadConfig } from '../../config/index.ts';
import { removeTree } from '../../workers/content/coreutils.ts';
import { processesWith } from './processes.ts';
import { until } from './until.ts';

/** A test's own corner of the world: folders, key prefix, configuration. Kept when the test fails. */
export interface Place {
  readonly folder: string;
  readonly config: Config;
  /** For processes that the test starts: the same configuration, by environment. */
  readonly env: Record<string, string>;
  /** `join(folder, …)`, with the folder made. */
  dir(...parts: string[]): string;
  path(...parts: string[]): string;
}

const root = join(import.meta.dirname, '../../var/test');

/** Call inside a test (or a hook of it). `overrides` is merged over config/test.ts. */
export async function makePlace(overrides: Record<string, unknown> = {}): Promise<Place> {
  mkdirSync(root, { recursive: true });
  const folder = mkdtempSync(join(root, 'place-'));
  // The result is asked for here: `onTestFailed` runs only after this, when the evidence would be gone.
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail') {
      console.error(`evidence kept in ${folder}`);
      return;
    }
    // All that was started here carries the folder in its environment. A task whose worker was killed a moment ago may
    // still write; one that stays is a leak, and fails the test.
    await until(() => processesWith(folder).length === 0, {
      what: `the last process of ${folder} to be gone`,
    });
    await removeTree(folder); // Read-only folders too, for a user who is not root.
  });
  const prefix = `t${randomBytes(6).toString('hex')}`;
  const env = {
    APP_ENV: 'test',
    LONGSHORE_DOTENV: 'none',
    LONGSHORE_HOME: folder,
    LONGSHORE_OVERRIDES: JSON.stringify({
      ...overrides,
      queue: { prefix, ...(overrides.queue as object | undefined) },
    }),
    REDIS_URL: inject('redis'),
  };
  const { config } = await loadConfig({ environment: { values: env, file: null, fromFile: new Set() } });
  const path = (...parts: string[]): string => join(folder, ...parts);
  return {
    folder,
    config,
    env,
    path,
    dir: (...parts) => {
      mkdirSync(path(...parts), { recursive: true });
      return path(...parts);
    },
  };
}
