/** What a container of the reference's workers starts with: it becomes what WORKER_TYPE says. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig, variable } from '../config/index.ts';
import { isLongshoreError, LongshoreError } from '../workers/errors.ts';
import { createProgram, dryRunOption, EXIT, jsonOption, runProgram, toldOf } from './cli/program.ts';
import { printJson } from './cli/session.ts';
import { become } from './workers/become.ts';

/** By the names of the reference. Uploads are looked after by a schedule, so the worker needs no poller beside it. */
const FILES: Readonly<Record<string, string>> = {
  celery_worker: 'workers/worker.ts',
  watch: 'scripts/watch.ts',
  metrics: 'scripts/metrics.ts',
  purge_staged_datasets: 'scripts/purge_staged_datasets.ts',
  purge_stale_workflows: 'scripts/purge_stale_workflows.ts',
  purge_stale_uploaded: 'scripts/purge_stale_uploaded.ts',
};

const program = createProgram(
  'entrypoint',
  'Become the worker, the watcher or the script that WORKER_TYPE names. Waits until .env holds APP_API_TOKEN where the catalog is behind the API.',
  [
    'WORKER_TYPE=celery_worker node scripts/entrypoint.ts',
    'WORKER_TYPE=watch node scripts/entrypoint.ts --dry-run',
  ],
)
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .addHelpText(
    'after',
    `\nWORKER_TYPE is one of these; anything else: ${EXIT.failed}\n${Object.keys(FILES)
      .map((type) => `  ${type}`)
      .join('\n')}`,
  )
  .action(async ({ dryRun = false, json }: { dryRun?: boolean; json?: boolean }) => {
    const type = variable('WORKER_TYPE') ?? '';
    const file = Object.hasOwn(FILES, type) ? FILES[type] : undefined;
    if (file === undefined) {
      const known = Object.keys(FILES).join(', ');
      const error = new LongshoreError(
        'E_USAGE',
        `WORKER_TYPE is ${JSON.stringify(type)}; expected one of ${known}`,
        { hint: 'Set it in the environment of the container, or in .env.' },
      );
      if (json) printJson({ error: toldOf(error) });
      else process.stderr.write(`${error.code}: ${error.message}\n${error.hint}\n`);
      process.exitCode = EXIT.failed;
      return;
    }
    if (dryRun && json) return printJson({ dry_run: true, type, file });
    if (dryRun) process.stdout.write(`would become ${file} (dry run: nothing was started)\n`);
    else await start(file);
  });

async function start(file: string): Promise<void> {
  for (let told = false; await lacksToken(); told = true) {
    if (!told) process.stderr.write('APP_API_TOKEN is empty; waiting until .env holds it\n');
    await sleep(1000);
  }
  become(join(import.meta.dirname, '..', file), [], process.env);
}

/** Another problem of the configuration is told by what is started. The token comes with the API's own first start. */
async function lacksToken(): Promise<boolean> {
  try {
    await loadConfig();
    return false;
  } catch (error) {
    if (!isLongshoreError(error) || error.code !== 'E_CONFIG') throw error;
    const problems = error.fields.problems as readonly string[] | undefined;
    return problems?.length === 1 && problems[0]?.startsWith('api.auth_token: ') === true;
  }
}

await runProgram(program);
