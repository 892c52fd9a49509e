import type { Command } from 'commander';
import { alone, busyHelp } from '../alone.ts';
import { raiseAlarms } from '../../fixity/alarms.ts';
import { findingText } from '../../fixity/view.ts';
import { counted } from '../format.ts';
import { EXIT, flag, jsonOption } from '../program.ts';
import { printJson, type Session, withStore } from '../session.ts';
import type { Tool } from '../tool.ts';

interface Options {
  dryRun?: boolean;
  json?: boolean;
}

export const raiseAlarmsTool: Tool = {
  script: 'raise_alarms',
  description:
    'Tell who is on duty (fixity.alarm, email.alarm_to) of damaged and missing copies that nobody was told of yet, whoever found them.',
  summary: 'tell who is on duty of findings that nobody was told of yet',
  examples: ['--dry-run', ''],
  define: (command: Command) =>
    command
      .addOption(flag('dry-run', 'say what would be told, and tell nobody'))
      .addOption(jsonOption())
      .addHelpText('after', busyHelp)
      .action(async (options: Options) => {
        process.exitCode = await withStore((session) => {
          const dry_run = options.dryRun ?? false;
          return alone(session, { script: 'raise_alarms', dry_run }, () => raiseAndTell(session, options));
        });
      }),
};

async function raiseAndTell(session: Session, { dryRun: dry_run = false, json }: Options): Promise<number> {
  const raised = await raiseAlarms(session, { dry_run });
  if (json) {
    printJson({ dry_run, raised });
    return EXIT.ok;
  }
  for (const { dataset_id, name, archive, finding, closed_at } of raised)
    process.stdout.write(
      `${dry_run ? 'would tell of' : 'told of'} ${dataset_id} ${name} in ${archive}: ${finding.result} at ${finding.at}, ${findingText(finding)}${closed_at === null ? '' : `; a proof held at ${closed_at}`}\n`,
    );
  process.stdout.write(
    `${counted(raised.length, 'finding')} ${dry_run ? 'to tell of (dry run: nobody was told)' : 'told of'}\n`,
  );
  return EXIT.ok;
}
