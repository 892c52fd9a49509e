import type { Command } from 'commander';
import { alone, busyHelp } from '../alone.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import type { JobQueue } from '../../../workers/queue/queues.ts';
import { type FleetSession, knownQueue, withFleet } from '../fleet-session.ts';
import { dryRunBesideArguments, EXIT, jsonOption } from '../program.ts';
import { currentUser, printJson } from '../session.ts';
import type { Tool } from '../tool.ts';
import { counted } from '../format.ts';

interface Options {
  yes?: boolean;
  force?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export const deleteQueueTool: Tool = {
  script: 'delete_queue',
  description:
    'Delete a queue with all its jobs from Redis. The records stay: workers put back what they say should run.',
  summary: 'delete a queue with its jobs from Redis; the records stay',
  examples: ['--dry-run', '--yes', 'longshore.tape --yes'],
  define: (command: Command) =>
    command
      .argument('[queue]', 'its name; default: the queue of steps that name none')
      .option('--yes', 'really delete it')
      .option('--force', 'also while workers run jobs of it; those jobs may run twice')
      .addOption(dryRunBesideArguments())
      .addOption(jsonOption())
      .addHelpText(
        'after',
        `
To be rid of workflows, revoke or delete them; a queue that is deleted comes
back from the records.
${busyHelp}`,
      )
      .action(async (name: string | undefined, options: Options) => {
        process.exitCode = await withFleet((session) => deleteQueue(session, name, options));
      }),
};

async function deleteQueue(
  session: FleetSession,
  text: string | undefined,
  options: Options,
): Promise<number> {
  const queue = await knownQueue(session, text);
  const overlap = { script: 'delete_queue', subjects: [queue.name], dry_run: options.dryRun ?? false };
  return alone(session, overlap, () => deleteAndTell(session, queue, options));
}

async function deleteAndTell(
  { config, store }: FleetSession,
  queue: JobQueue,
  { yes = false, force = false, dryRun: dry_run = false, json }: Options,
): Promise<number> {
  const { name } = queue;
  const counts = await queue.getJobCounts();
  const jobs = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const active = counts.active ?? 0;
  if (!dry_run && !yes)
    throw new LongshoreError('E_USAGE', `${name} holds ${counted(jobs, 'job')}; nothing was deleted`, {
      fields: { queue: name, jobs: counts },
      hint: 'Say --yes to delete it, or --dry-run to see what is in it.',
    });
  if (active > 0 && !force)
    throw new LongshoreError(
      'E_WORKFLOW_STATE',
      `workers run ${counted(active, 'job')} of ${name}; it was not deleted`,
      {
        fields: { queue: name, jobs: counts },
        hint: `Let them end first (longshore pause-queue ${name}, longshore active), or say --force.`,
      },
    );
  if (!dry_run) {
    const details = { jobs: counts, force };
    await store.records.audit({
      actor: currentUser(),
      action: 'queue.delete',
      subject: `queue:${name}`,
      details,
    });
    await queue.obliterate({ force });
  }
  if (json) printJson({ dry_run, queue: name, deleted: !dry_run, jobs: counts });
  else tell(name, jobs, { dry_run, seconds: config.workflow.reconcile_seconds });
  return EXIT.ok;
}

function tell(name: string, jobs: number, { dry_run, seconds }: { dry_run: boolean; seconds: number }): void {
  const lines = dry_run
    ? [`would delete ${name} with ${counted(jobs, 'job')} (dry run: nothing was changed)`]
    : [
        `deleted ${name} with ${counted(jobs, 'job')}`,
        `the records stay: workflows that wait or run are put back by the workers within ${seconds} s, or by npx longshore reconcile`,
      ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
