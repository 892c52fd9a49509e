import type { Command } from 'commander';
import { explainConfig } from '../../../config/explain.ts';
import { loadConfig } from '../../../config/load.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { missingTasks } from '../../../workers/fleet/missing-tasks.ts';
import { oneLine } from '../format.ts';
import { jsonOption } from '../program.ts';
import { printJson } from '../session.ts';
import type { Tool } from '../tool.ts';

export const configTool: Tool = {
  script: 'config',
  description: 'Show every configured value and where it came from; secrets stay hidden.',
  summary: 'every configured value and where it came from',
  examples: ['', 'registration.RAW_DATA.source_dir', '--json'],
  define: (command: Command) =>
    command
      .argument('[key]', 'only this key and what is below it, as paths.RAW_DATA')
      .addOption(jsonOption())
      .action((key: string | undefined, { json = false }: { json?: boolean }) => explain(key ?? '', json)),
};

/** @throws E_CONFIG with all its problems */
async function explain(key: string, json: boolean): Promise<void> {
  const loaded = await loadConfig({ places: true });
  const values = explainConfig(loaded, key);
  if (values.length === 0)
    throw new LongshoreError(
      'E_USAGE',
      `there is no key "${oneLine(key)}"; without a key everything is shown`,
    );
  for (const { key: at, message } of missingTasks(loaded.config))
    process.stderr.write(`warning: ${at}: ${message}\n`);
  const { app_env } = loaded.config;
  const env_file = loaded.environment.file;
  if (json) return printJson({ app_env, env_file, values });
  const width = Math.max(...values.map((one) => one.key.length));
  process.stdout.write(`APP_ENV ${app_env}; .env: ${env_file ?? 'none found'}\n\n`);
  for (const { key: name, value, origin } of values) {
    const text = typeof value === 'string' ? oneLine(value) : JSON.stringify(value);
    process.stdout.write(`${name.padEnd(width)}  ${text}  (${origin})\n`);
  }
}
