import { LongshoreError } from '../workers/errors.ts';
import type { Config, ConfigShape, TypePaths, TypeRegistration } from './schema.ts';

/** Folders of a dataset type that configuration may have added. */
export function pathsOf(config: Config, type: string): TypePaths {
  const found = (config.paths as unknown as Record<string, TypePaths | undefined>)[type];
  if (found !== undefined && config.dataset_types.includes(type)) return found;
  throw unknownType(config, type);
}

export function registrationOf(config: Config, type: string): TypeRegistration {
  const found = (config.registration as unknown as Record<string, TypeRegistration | undefined>)[type];
  if (found !== undefined && config.dataset_types.includes(type)) return found;
  throw unknownType(config, type);
}

/** Days that a staged copy of this type lives after it was last staged. */
export const daysToLive = ({ stage: { purge } }: Config, type: string): number =>
  purge.types[type]?.days_to_live ?? purge.days_to_live;

/** Those for what this installation has. */
export const activeSchedules = ({ schedules, catalog }: Pick<ConfigShape, 'schedules' | 'catalog'>) =>
  schedules.filter(({ only }) => only === undefined || hasUploads(catalog));

/** They come by the facility's REST API only. */
export const hasUploads = ({ backend }: { readonly backend: string }): boolean => backend === 'rest';

/** True where this host has a file with catalog or records. */
export const usesSqlite = ({ catalog, records }: Config): boolean =>
  catalog.backend === 'sqlite' || records.backend === 'sqlite';

function unknownType(config: Config, type: string): LongshoreError {
  return new LongshoreError(
    'E_USAGE',
    `dataset type "${type}" is not configured; expected one of ${config.dataset_types.join(', ')}`,
    { hint: 'Name it in dataset_types, with its folders in paths and registration, or name another one.' },
  );
}

/** Nothing may change a configuration after it was checked. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
