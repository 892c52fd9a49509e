import { isLongshoreError } from '../workers/errors.ts';
import { type LoadOptions, loadConfig } from './load.ts';
import type { Config } from './schema.ts';

export { variable } from './env.ts';
export { loadConfig } from './load.ts';
export { mergeLayers, resolveAppEnv } from './layers.ts';
export { daysToLive, hasUploads, pathsOf, registrationOf, usesSqlite } from './of.ts';
export type { Config, DigestName, TypePaths, TypeRegistration, WorkflowDefinition } from './schema.ts';

/**
 * The configuration of this process, for entry points (scripts, apps). Prints every problem and exits 78 (EX_CONFIG,
 * sysexits.h) when it cannot be used, so that nothing runs on half a configuration.
 */
export async function configOrExit(): Promise<Config> {
  try {
    return await commandConfig();
  } catch (error) {
    if (!isLongshoreError(error)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n${error.hint}\n`);
    process.exit(78);
  }
}

/** As {@link configOrExit}, for commands, which tell what is wrong in their own way: with --json as JSON. @throws E_CONFIG */
export async function commandConfig(options: Pick<LoadOptions, 'environment'> = {}): Promise<Config> {
  return (await loadConfig({ ...options, places: true })).config;
}
