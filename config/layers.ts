import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import deepmerge from 'deepmerge';
import { isLongshoreError, LongshoreError, whyNotLoaded } from '../workers/errors.ts';
import type { Environment } from './env.ts';

/** One source of values: a file of config/, or LONGSHORE_OVERRIDES. */
export interface Layer {
  readonly name: string;
  readonly values: Record<string, unknown>;
}

/** Files of config/ that are no environments. */
const NOT_OVERLAYS = new Set(
  'api archive-backend common env explain fill folders gateway index last-save layers load log metrics mongodb of places problems redis-url scalars scaling schedule schema staged-copies task-limits uploads value workflows'.split(
    ' ',
  ),
);

/** `ci` is the reference's alias of `docker`; unset means one machine without configuration. */
export function resolveAppEnv(raw: string | undefined): string {
  if (raw === undefined || raw.trim() === '') return 'local';
  return raw === 'ci' ? 'docker' : raw;
}

const folder = import.meta.dirname;

/** Common defaults, the environment's file, LONGSHORE_OVERRIDES (JSON, for one-off runs and tests): later ones win. */
export async function readLayers(app_env: string, environment: Environment): Promise<Layer[]> {
  return [
    await importLayer('common'),
    await importLayer(overlayName(app_env)),
    ...overrideLayer(environment),
  ];
}

/** Objects merge, everything else is replaced whole; the arguments are left as they are. */
export function mergeLayers<T extends object>(base: T, overlay: object): T {
  return deepmerge(base, overlay, {
    arrayMerge: (_, replacement: unknown[]) => replacement,
    isMergeableObject: (value: unknown) => isPlainObject(value) || Array.isArray(value),
  }) as T;
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

function overlayName(app_env: string): string {
  const known = readdirSync(folder)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -3))
    .filter((name) => !NOT_OVERLAYS.has(name));
  if (known.includes(app_env)) return app_env;
  throw new LongshoreError(
    'E_CONFIG',
    `APP_ENV is "${app_env}", but there is no config/${app_env}.ts; known: ${known.join(', ')}`,
    {
      fields: { app_env, known },
    },
  );
}

async function importLayer(name: string): Promise<Layer> {
  const file = join(folder, `${name}.ts`);
  const module = await loaded(name, file);
  if (isPlainObject(module.config)) return { name: `config/${name}.ts`, values: module.config };
  throw new LongshoreError('E_CONFIG', `config/${name}.ts must export an object named "config"`, {
    fields: { file },
  });
}

/** A slip of the pen is a wrong configuration like others, and no crash of whoever reads it. */
async function loaded(name: string, file: string): Promise<{ config?: unknown }> {
  try {
    return (await import(file)) as { config?: unknown };
  } catch (error) {
    // A file system that fails is another time well again: the start is to be tried again then.
    if (isLongshoreError(error) || (error as NodeJS.ErrnoException).syscall !== undefined) throw error;
    throw new LongshoreError('E_CONFIG', `config/${name}.ts cannot be loaded: ${whyNotLoaded(error)}`, {
      fields: { file },
      cause: error,
      hint: 'Correct the named file, then start again.',
    });
  }
}

function overrideLayer(environment: Environment): Layer[] {
  const text = environment.values.LONGSHORE_OVERRIDES;
  if (text === undefined || text.trim() === '') return [];
  try {
    const values: unknown = JSON.parse(text);
    if (isPlainObject(values)) return [{ name: 'LONGSHORE_OVERRIDES', values }];
  } catch {
    // Without the parser's message: it quotes the text, which may hold a secret.
    throw new LongshoreError('E_CONFIG', 'LONGSHORE_OVERRIDES is no valid JSON');
  }
  throw new LongshoreError('E_CONFIG', 'LONGSHORE_OVERRIDES must be a JSON object');
}
