import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import dotenv from 'dotenv';
import { LongshoreError } from '../workers/errors.ts';

/**
 * `.env` as the reference reads it: searched from the config folder upward, its values beat variables that are
 * set already (its container preloads defaults into the environment), `${VAR}` is expanded.
 */
export interface Environment {
  readonly values: Readonly<Record<string, string | undefined>>;
  /** The `.env` that was read, or null. */
  readonly file: string | null;
  /** Names that came from that file. */
  readonly fromFile: ReadonlySet<string>;
}

export function readEnvironment(options: { folder?: string; base?: NodeJS.ProcessEnv } = {}): Environment {
  const base = options.base ?? process.env;
  const file = dotenvFile(base.LONGSHORE_DOTENV, options.folder ?? import.meta.dirname);
  if (file === null) return { values: { ...base }, file, fromFile: new Set() };
  const parsed: Record<string, string> = {};
  const { error } = dotenv.config({ path: file, processEnv: parsed, quiet: true });
  if (error !== undefined) {
    throw new LongshoreError('E_CONFIG', `the file of environment variables ${file} cannot be read`, {
      cause: error,
    });
  }
  const values: Record<string, string | undefined> = { ...base };
  for (const [name, value] of Object.entries(parsed)) values[name] = expand(value, values);
  return { values, file, fromFile: new Set(Object.keys(parsed)) };
}

/**
 * One variable, by the same precedence, for what is wanted beside or before the configuration. Nothing of `.env` is put
 * into process.env, where a process's children, and the programs that tasks call, would inherit it.
 */
export function variable(name: string): string | undefined {
  // Without the file nothing needs the copy of all variables, which is slow to make.
  const file = dotenvPath();
  return file === null ? process.env[name] : readEnvironment().values[name];
}

/** Of the file that this process reads, if there is one. */
export const dotenvPath = (): string | null => dotenvFile(process.env.LONGSHORE_DOTENV, import.meta.dirname);

/** LONGSHORE_DOTENV names another file, or `none`: a run that brings its own settings (demo, tests) must not be bent. */
function dotenvFile(named: string | undefined, folder: string): string | null {
  if (named === undefined || named === '') return findUpward(folder, '.env');
  return named === 'none' ? null : named;
}

function findUpward(folder: string, name: string): string | null {
  for (let at = folder; ; at = dirname(at)) {
    const file = join(at, name);
    if (existsSync(file)) return file;
    if (at === dirname(at)) return null;
  }
}

function expand(text: string, values: Readonly<Record<string, string | undefined>>): string {
  return text.replace(
    /\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}/g,
    (_, name: string, fallback?: string) => {
      return values[name] || fallback || '';
    },
  );
}
