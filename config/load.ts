import { isAbsolute } from 'node:path';
import { LongshoreError } from '../workers/errors.ts';
import { type Environment, readEnvironment } from './env.ts';
import { fillFromEnvironment, type Origin } from './fill.ts';
import { type Layer, mergeLayers, readLayers, resolveAppEnv } from './layers.ts';
import { activeSchedules, deepFreeze } from './of.ts';
import { logProblems } from './log.ts';
import { findUnusablePlaces } from './places.ts';
import { describeIssue, findContradictions } from './problems.ts';
import { missingScripts } from './schedule.ts';
import { type Config, schema } from './schema.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** By dotted key. */
  readonly origins: ReadonlyMap<string, Origin>;
  readonly environment: Environment;
}

export interface LoadOptions {
  readonly environment?: Environment;
  /**
   * Also look at the file system (see places.ts). For the start of a process; not in the middle of work, where a
   * vanished mount is an outage of the task that needs it.
   */
  readonly places?: boolean;
}

/**
 * The layers merged, environment variables filled in, and everything checked at once.
 *
 * @throws LongshoreError E_CONFIG with `fields.problems`, one line per key
 */
export async function loadConfig(options: LoadOptions = {}): Promise<LoadedConfig> {
  const environment = options.environment ?? readEnvironment();
  const app_env = resolveAppEnv(environment.values.APP_ENV);
  const home = homeProblems(environment);
  if (home.length > 0) throw refusal(app_env, home);
  const layers = await readLayers(app_env, environment);
  const { config, values, origins, problems } = check(layers, environment, app_env, options);
  const all = [...problems, ...(options.places === true ? placeProblems(config, values, problems) : [])];
  if (config !== null && all.length === 0) return { config, origins, environment };
  throw refusal(app_env, all);
}

/** Of folders, also where something else is wrong already, as far as that lets the folders be seen. */
function placeProblems(
  config: Config | null,
  values: Record<string, unknown>,
  told: readonly string[],
): string[] {
  if (config !== null) return findUnusablePlaces(config);
  const keys = new Set(told.map((problem) => problem.split(':')[0]));
  try {
    return findUnusablePlaces(values as unknown as Config).filter(
      (problem) => !keys.has(problem.split(':')[0]),
    );
  } catch {
    return []; // What is told already has left parts of it out, or of another type.
  }
}

function refusal(app_env: string, problems: readonly string[]): LongshoreError {
  const count = `${problems.length} problem${problems.length === 1 ? '' : 's'}`;
  return new LongshoreError(
    'E_CONFIG',
    `the configuration for APP_ENV=${app_env} has ${count}:\n  ${problems.join('\n  ')}`,
    { fields: { problems, app_env } },
  );
}

/** Told alone and first: each path below it would be told as a problem of its own, and none would name the cause. */
function homeProblems({ values }: Environment): string[] {
  const home = values.LONGSHORE_HOME || '/';
  return isAbsolute(home) ? [] : [`LONGSHORE_HOME: expected an absolute path, got ${JSON.stringify(home)}`];
}

function check(
  layers: readonly Layer[],
  environment: Environment,
  app_env: string,
  { places = false }: LoadOptions,
) {
  const merged = layers.reduce<Record<string, unknown>>((base, { values }) => mergeLayers(base, values), {});
  const filled = fillFromEnvironment(merged, layers, environment);
  const { values, origins, problems: missing } = filled;
  const checked = schema.safeParse(values);
  const reported = new Set(missing.map((problem) => problem.split(':')[0]));
  const issues = (checked.error?.issues ?? [])
    // A variable that is missing was reported by its name already; "expected string, received undefined" adds nothing.
    .filter((issue) => !reported.has(issue.path.join('.')))
    .flatMap((issue) => describeIssue(issue, filled));
  const absent = places ? missingScripts(values.schedules) : [];
  const log = logProblems(environment.values);
  const problems = [...missing, ...issues, ...findContradictions(values), ...absent, ...log];
  const usable = checked.success && problems.length === 0;
  const config = usable
    ? (deepFreeze({
        ...checked.data,
        schedules: activeSchedules(checked.data),
        app_env,
      }) as unknown as Config)
    : null;
  return { config, values, origins, problems };
}
