import { isLongshoreError } from '../workers/errors.ts';
import { dotenvPath } from './env.ts';
import { secondsSinceSave } from './last-save.ts';
import { type LoadOptions, loadConfig } from './load.ts';
import type { Config } from './schema.ts';

export { variable } from './env.ts';
export { loadConfig } from './load.ts';
export { mergeLayers, resolveAppEnv } from './layers.ts';
export { daysToLive, hasUploads, pathsOf, registrationOf, usesSqlite } from './of.ts';
export type { Config, DigestName, TypePaths, TypeRegistration, WorkflowDefinition } from './schema.ts';

/** An editor saves in several steps, and a person, or git, several files one after the other. */
const SETTLES_SECONDS = 30;

/**
 * The configuration of this process, for entry points (scripts, apps). Prints every problem and exits 78 (EX_CONFIG,
 * sysexits.h) when it cannot be used, so that nothing runs on half a configuration. Under pm2, which leaves down what ends
 * so, not while somebody may still be saving it: pm2 starts what ends with 1 again, soon and then every 15 s.
 */
export async function configOrExit(): Promise<Config> {
  try {
    return await commandConfig();
  } catch (error) {
    if (!isLongshoreError(error)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n${error.hint}\n`);
    const seconds = process.env.pm_id === undefined ? Infinity : secondsSinceSave(dotenvPath());
    if (seconds >= SETTLES_SECONDS) process.exit(78);
    process.stderr.write(
      `It was saved ${Math.round(seconds)} s ago and may not be whole yet: pm2 starts this process again.\n`,
    );
    process.exit(1);
  }
}

/** As {@link configOrExit}, for commands, which tell what is wrong in their own way: with --json as JSON. @throws E_CONFIG */
export async function commandConfig(options: Pick<LoadOptions, 'environment'> = {}): Promise<Config> {
  return (await loadConfig({ ...options, places: true })).config;
}
