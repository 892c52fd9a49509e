import { parseArgs } from 'node:util';
import { explainConfig } from '../config/explain.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { isLongshoreError } from '../workers/errors.ts';

const HELP = `npm run config -- [KEY] [--json]

Shows every configured value and where it came from; secrets stay hidden.

  KEY      only this key and what is below it: paths, paths.RAW_DATA, registration.RAW_DATA.source_dir
  --json   {app_env, env_file, values: [{key, value, origin}]} for programs

Exit codes: 0 usable, 2 wrong arguments, 78 the configuration has problems (all of them are listed).
`;

interface Options {
  readonly prefix: string;
  readonly json: boolean;
}

function readArguments(): Options {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } },
    });
    if (values.help) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    if (positionals.length > 1) throw new Error(`expected one KEY, got ${positionals.join(' ')}`);
    return { prefix: positionals[0] ?? '', json: values.json };
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    process.exit(2);
  }
}

async function loadOrExit(json: boolean): Promise<LoadedConfig> {
  try {
    return await loadConfig({ places: true });
  } catch (error) {
    if (!isLongshoreError(error)) throw error;
    const { code, message, hint, fields } = error;
    if (json) process.stdout.write(`${JSON.stringify({ code, message, hint, ...fields }, null, 2)}\n`);
    else process.stderr.write(`${code}: ${message}\n${hint}\n`);
    process.exit(78);
  }
}

const { prefix, json } = readArguments();
const loaded = await loadOrExit(json);
const values = explainConfig(loaded, prefix);
if (values.length === 0) {
  process.stderr.write(`there is no key "${prefix}"; without KEY everything is shown\n`);
  process.exit(2);
}
const { app_env } = loaded.config;
const env_file = loaded.environment.file;
if (json) {
  process.stdout.write(`${JSON.stringify({ app_env, env_file, values }, null, 2)}\n`);
} else {
  const width = Math.max(...values.map(({ key }) => key.length));
  process.stdout.write(`APP_ENV ${app_env}; .env: ${env_file ?? 'none found'}\n\n`);
  for (const { key, value, origin } of values) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    process.stdout.write(`${key.padEnd(width)}  ${text}  (${origin})\n`);
  }
}
