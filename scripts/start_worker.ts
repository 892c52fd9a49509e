/** Starts a worker in the foreground, without pm2: this process becomes it. */
import { join } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { readEnvironment } from '../config/env.ts';
import { commandConfig } from '../config/index.ts';
import { mergeLayers } from '../config/layers.ts';
import { askedRole, roleOf } from '../workers/fleet/routing.ts';
import { createProgram, dryRunOption, jsonOption, runProgram } from './cli/program.ts';
import { printJson } from './cli/session.ts';
import { become } from './workers/become.ts';

interface Options {
  autoscale?: { max: number; min: number };
  app?: string;
  queue?: string;
  dryRun?: boolean;
  json?: boolean;
}

const program = createProgram(
  'start_worker',
  'Start one worker in the foreground. SIGINT or SIGTERM ends it in good order; for production use pm2.',
  ['node scripts/start_worker.ts', 'node scripts/start_worker.ts --autoscale 8,3 --queue longshore.tape'],
)
  .option('--autoscale <max,min>', 'slots, as 8,3; default: config.autoscale', slots)
  .option('--app <name>', 'which app of config.workers it is; default: worker')
  .option('--queue <queue>', 'take jobs from this queue instead')
  .addOption(dryRunOption())
  .addOption(jsonOption())
  .action((options: Options) => start(options));

async function start({ autoscale, app, queue, dryRun: dry_run = false, json }: Options): Promise<void> {
  const env = environmentOf({ autoscale, app, queue });
  const config = await commandConfig({ environment: readEnvironment({ base: env }) });
  const asked = askedRole();
  const role = roleOf(config, { app: app ?? asked.app, queue: queue ?? asked.queue });
  if (dry_run) {
    if (json) printJson({ dry_run, ...role });
    for (const one of json ? [] : role.queues)
      process.stdout.write(
        `would take jobs from ${one.queue} with ${one.min} to ${one.max} slots (dry run: nothing was started)\n`,
      );
    return;
  }
  become(join(import.meta.dirname, '../workers/worker.ts'), [], env);
}

/** What stands on the command line beats `.env`: the worker is given all variables as they are now, and no file. */
function environmentOf({ autoscale, app, queue }: Options): NodeJS.ProcessEnv {
  if (autoscale === undefined && app === undefined && queue === undefined) return process.env;
  const env: NodeJS.ProcessEnv = { ...readEnvironment().values, LONGSHORE_DOTENV: 'none' };
  if (app !== undefined) env.LONGSHORE_WORKER = app;
  if (queue !== undefined) env.LONGSHORE_QUEUE = queue;
  if (autoscale !== undefined) {
    const given = JSON.parse(env.LONGSHORE_OVERRIDES || '{}') as object;
    env.LONGSHORE_OVERRIDES = JSON.stringify(mergeLayers(given, { autoscale }));
  }
  return env;
}

function slots(text: string): { max: number; min: number } {
  const [max = 0, min = 0, ...rest] = text.split(',').map(Number);
  const whole = [max, min].every((value) => Number.isInteger(value) && value >= 1 && value <= 1000);
  if (whole && rest.length === 0 && min <= max) return { max, min };
  throw new InvalidArgumentError('Expected the most and the fewest slots, as 8,3.');
}

await runProgram(program);
