/** Shows the configuration; ecosystem.config.js asks it for what pm2 has to know. */
import { explainConfig } from '../config/explain.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { isLongshoreError, LongshoreError } from '../workers/errors.ts';
import { createProgram, jsonOption, runProgram } from './cli/program.ts';
import { printJson } from './cli/session.ts';

const program = createProgram(
  'config',
  'Show every configured value and where it came from; secrets stay hidden.',
  ['npm run config', 'npm run config -- paths.RAW_DATA', 'APP_ENV=production npm run config -- queue --json'],
)
  .argument('[key]', 'only this key and what is below it, as registration.RAW_DATA.source_dir')
  .addOption(jsonOption())
  .addHelpText(
    'after',
    '\nJSON is {app_env, env_file, values: [{key, value, origin}]}. With 78 all problems are listed.',
  )
  .action(async (key: string | undefined, options: { json?: boolean }) => {
    const json = options.json ?? false;
    show(await loadOrExit(json), key ?? '', json);
  });

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

function show(loaded: LoadedConfig, key: string, json: boolean): void {
  const values = explainConfig(loaded, key);
  if (values.length === 0)
    throw new LongshoreError('E_USAGE', `there is no key "${key}" in the configuration`, {
      hint: 'Without a key everything is shown.',
    });
  const { app_env } = loaded.config;
  const env_file = loaded.environment.file;
  if (json) return printJson({ app_env, env_file, values });
  const width = Math.max(...values.map((one) => one.key.length));
  process.stdout.write(`APP_ENV ${app_env}; .env: ${env_file ?? 'none found'}\n\n`);
  for (const { key: name, value, origin } of values) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    process.stdout.write(`${name.padEnd(width)}  ${text}  (${origin})\n`);
  }
}

await runProgram(program);
