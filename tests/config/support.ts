import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Environment } from '../../config/env.ts';
import { type LoadedConfig, type LoadOptions, loadConfig } from '../../config/load.ts';
import { isLongshoreError } from '../../workers/errors.ts';

export const configFolder = join(import.meta.dirname, '../../config');

export const environment = (values: Record<string, string> = {}): Environment => ({
  values,
  file: null,
  fromFile: new Set(),
});

export const load = (values: Record<string, string>, options: LoadOptions = {}): Promise<LoadedConfig> =>
  loadConfig({ environment: environment(values), ...options });

/** The problems that the configuration is refused with. */
export async function problemsOf(
  values: Record<string, string>,
  options: LoadOptions = {},
): Promise<readonly string[]> {
  try {
    await load(values, options);
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_CONFIG') throw error;
    return (error.fields.problems as readonly string[] | undefined) ?? [error.message];
  }
  throw new Error('the configuration was accepted');
}

export const overrides = (values: Record<string, unknown>): Record<string, string> => ({
  LONGSHORE_OVERRIDES: JSON.stringify(values),
});

/** `loadConfig` of a copy of config/ with one more file, as a site would add it. */
export async function loaderWith(folder: string, name: string, text: string): Promise<typeof loadConfig> {
  cpSync(configFolder, join(folder, 'config'), { recursive: true });
  for (const file of ['errors.ts', 'redis-answer.ts'])
    cpSync(join(configFolder, '../workers', file), join(folder, 'workers', file));
  writeFileSync(join(folder, 'config', `${name}.ts`), text);
  const copy = (await import(join(folder, 'config/load.ts'))) as { loadConfig: typeof loadConfig };
  return copy.loadConfig;
}
