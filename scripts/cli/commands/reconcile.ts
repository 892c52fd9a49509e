import type { Command } from 'commander';
import { alone, busyHelp } from '../alone.ts';
import { EXIT, flag, jsonOption } from '../program.ts';
import { type EngineSession, printJson, withEngine } from '../session.ts';
import type { Tool } from '../tool.ts';

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

export const reconcileTool: Tool = {
  script: 'reconcile',
  description:
    'Put back into the queue what the records say should be there, as workers do by themselves (workflow.reconcile_seconds), and dismiss failed workflows whose dataset was deleted.',
  summary: 'put back into the queue what the records say should be there',
  examples: ['--dry-run', ''],
  define: (command: Command) =>
    command
      .addOption(flag('dry-run', 'say what looks wrong and change nothing'))
      .addOption(jsonOption())
      .addHelpText('after', busyHelp)
      .action(async (options: Options) => {
        process.exitCode = await withEngine((session) => {
          const dry_run = options.dryRun ?? false;
          return alone(session, { script: 'reconcile', dry_run }, () => reconcileAndTell(session, options));
        });
      }),
};

async function reconcileAndTell({ engine }: EngineSession, options: Options): Promise<number> {
  const { dryRun: dry_run = false, json } = options;
  const { looked_at, repaired } = await engine.reconcile({ dry_run });
  const dismissed = await engine.dismissDeleted({ dry_run });
  if (json) {
    printJson({ dry_run, looked_at, [dry_run ? 'suspicious' : 'repaired']: repaired, dismissed });
    return EXIT.ok;
  }
  for (const id of repaired) process.stdout.write(`${dry_run ? 'would look into' : 'put back'} ${id}\n`);
  for (const id of dismissed)
    process.stdout.write(`${dry_run ? 'would dismiss' : 'dismissed'} ${id}: its dataset was deleted\n`);
  const summary = dry_run
    ? `${repaired.length} of ${looked_at} live workflows look wrong in the queue (dry run: nothing was changed)`
    : `${looked_at} live workflows looked at, ${repaired.length} put back into the queue`;
  process.stdout.write(`${summary}\n`);
  return EXIT.ok;
}
