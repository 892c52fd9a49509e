import type { LoadedConfig } from './load.ts';
import { isPlainObject } from './layers.ts';
import { hideCredentials } from './problems.ts';

/** One configured value and why it is what it is. */
export interface Explanation {
  readonly key: string;
  /** `[hidden]` for a secret that is set. */
  readonly value: unknown;
  /** `config/common.ts`, `environment REDIS_URL`, … */
  readonly origin: string;
}

/** Every value in the order of the files, below `prefix` if one is given (`paths`, `paths.RAW_DATA`). */
export function explainConfig({ config, origins }: LoadedConfig, prefix = ''): Explanation[] {
  const named = [...origins].map(([key, { layer, secret }]) => ({
    key,
    value: shown(valueOf(config, key), secret),
    origin: layer,
  }));
  const defaults = leavesOf(config, '')
    .filter((key) => key !== 'app_env' && !origins.has(key))
    .map((key) => ({ key, value: valueOf(config, key), origin: 'config/schema.ts (default)' }));
  return [...named, ...defaults].filter(
    ({ key }) => prefix === '' || key === prefix || key.startsWith(`${prefix}.`),
  );
}

/** Keys of all scalars, arrays and empty objects. */
function leavesOf(value: unknown, key: string): string[] {
  if (!isPlainObject(value) || Object.keys(value).length === 0) return [key];
  return Object.entries(value).flatMap(([name, inner]) =>
    leavesOf(inner, key === '' ? name : `${key}.${name}`),
  );
}

function shown(value: unknown, secret: boolean): unknown {
  if (value === null || value === undefined) return null;
  if (secret) return '[hidden]';
  return JSON.parse(hideCredentials(JSON.stringify(value))) as unknown;
}

function valueOf(config: unknown, key: string): unknown {
  return key
    .split('.')
    .reduce((at: unknown, name) => (at as Record<string, unknown> | undefined)?.[name], config);
}
