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
export async function configOrExit(options: Pick<LoadOptions, 'environment'> = {}): Promise<Config> {
  try {
    return (await loadConfig({ ...options, places: true })).config;
  } catch (error) {
    if (!isLongshoreError(error)) throw error;
    process.stderr.write(`${error.code}: ${error.message}\n${error.hint}\n`);
    process.exit(78);
  }
}
