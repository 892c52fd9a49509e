import type { LoadedConfig } from './load.ts';
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
  return [...origins]
    .filter(([key]) => prefix === '' || key === prefix || key.startsWith(`${prefix}.`))
    .map(([key, { layer, secret }]) => ({ key, value: shown(valueOf(config, key), secret), origin: layer }));
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
