import { join } from 'node:path';
import type { Environment } from './env.ts';
import { isPlainObject, type Layer } from './layers.ts';
import { EnvValue } from './value.ts';

/** Where a value came from, for `npm run config`. */
export interface Origin {
  /** `config/common.ts`, `config/local.ts`, `environment REDIS_URL`, `.env ALIAS_SALT`, `LONGSHORE_OVERRIDES`. */
  readonly layer: string;
  readonly secret: boolean;
}

export interface Filled {
  readonly values: Record<string, unknown>;
  /** Keys that any layer takes from a secret variable: an overlay that names one plainly changes nothing. */
  readonly secrets: readonly string[];
  /** By dotted key; one for every scalar, array and empty object. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** `key: what is wrong`, for required variables that are not set. */
  readonly problems: readonly string[];
}

/** Puts the environment's values where the merged layers ask for them, and notes where every value came from. */
export function fillFromEnvironment(
  merged: Record<string, unknown>,
  layers: readonly Layer[],
  environment: Environment,
): Filled {
  const origins = new Map<string, Origin>();
  const problems: string[] = [];
  const secrets = layers.flatMap(({ values }) => secretKeys(values, ''));
  const home = environment.values.LONGSHORE_HOME || join(import.meta.dirname, '..', 'var');

  const fill = (value: unknown, key: string): unknown => {
    if (isPlainObject(value) && (Object.keys(value).length > 0 || key === '')) {
      return mapValues(value, (inner, name) => fill(inner, key === '' ? name : `${key}.${name}`));
    }
    const secret = isSecret(key, secrets);
    const layer = layerOf(key, layers);
    if (!(value instanceof EnvValue)) {
      origins.set(key, { layer, secret });
      return expandHome(value, home);
    }
    const found = value.read(environment.values);
    if (found !== undefined) {
      const source = environment.fromFile.has(found.variable) ? '.env' : 'environment';
      origins.set(key, { layer: `${source} ${found.variable}`, secret });
      return found.text;
    }
    origins.set(key, { layer, secret });
    if (value.fallback === undefined) {
      problems.push(
        `${key}: set the environment variable ${value.variable} (or put it into .env); it is required`,
      );
    }
    return expandHome(value.fallback, home);
  };
  return { values: fill(merged, '') as Record<string, unknown>, secrets, origins, problems };
}

/** Secret wherever it comes from, since somebody will write it into an overlay. */
const ALWAYS_SECRET = /(^|\.)secret_[a-z_]+$/;

/** True for a secret, for what stands below one, and for a whole that holds one. */
export const isSecret = (key: string, secrets: readonly string[]): boolean =>
  ALWAYS_SECRET.test(key) ||
  secrets.some((secret) => `${key}.`.startsWith(`${secret}.`) || secret.startsWith(`${key}.`));

function secretKeys(value: unknown, key: string): string[] {
  if (value instanceof EnvValue) return value.secret ? [key] : [];
  if (!isPlainObject(value)) return [];
  return Object.entries(value).flatMap(([name, inner]) =>
    secretKeys(inner, key === '' ? name : `${key}.${name}`),
  );
}

/** The last layer that names the key, or an array above it. */
function layerOf(key: string, layers: readonly Layer[]): string {
  return layers.findLast(({ values }) => at(values, key) !== undefined)?.name ?? 'config/common.ts';
}

function at(values: Record<string, unknown>, key: string): unknown {
  return key
    .split('.')
    .reduce((inner: unknown, name) => (isPlainObject(inner) ? inner[name] : undefined), values);
}

function expandHome(value: unknown, home: string): unknown {
  if (typeof value === 'string') return value.replaceAll('{home}', home);
  if (Array.isArray(value)) return value.map((inner) => expandHome(inner, home));
  if (isPlainObject(value)) return mapValues(value, (inner) => expandHome(inner, home));
  return value;
}

const mapValues = (object: Record<string, unknown>, change: (value: unknown, name: string) => unknown) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value, name)]));
