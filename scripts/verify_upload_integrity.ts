/** Run by the task of this name, or by hand: compares an upload with what the browser sent, and sets its status. */
import { InvalidArgumentError, Option } from 'commander';
import { commandConfig } from '../config/index.ts';
import { createLogger } from '../workers/log.ts';
import { openUploads } from '../workers/uploads/rest.ts';
import { alone, busyHelp, type Overlap } from './cli/alone.ts';
import { createProgram, dryRunBesideArguments, jsonOption, runProgram } from './cli/program.ts';
import { printJson } from './cli/session.ts';
import { checkUpload } from './uploads/check.ts';

interface Options {
  json?: boolean;
  dryRun?: boolean;
  forTask?: boolean;
}

const program = createProgram(
  'verify_upload_integrity',
  'Compare what has arrived of an upload with what the browser sent, and set VERIFIED; when the last try fails, VERIFICATION_FAILED.',
  [
    'node scripts/verify_upload_integrity.ts 42 5f0c9c0e-4b53-4f55-9a35-0d6a3e1d3b11 0 3',
    'node scripts/verify_upload_integrity.ts 42 by-hand 3 3   # the only try: a failure is final',
  ],
)
  .argument('<dataset_id>', 'of the uploaded dataset', whole)
  .argument('<task_id>', 'kept with a failure')
  .argument('<retry_count>', 'tries before this one, from 0', whole)
  .argument('<max_retries>', 'this try is the last one when both are the same', whole)
  .addOption(dryRunBesideArguments())
  .addOption(jsonOption())
  .addOption(new Option('--for-task', 'the worker runs it').hideHelp())
  .addHelpText('after', `While the API is away nothing is decided: 5${busyHelp}`)
  .action(async (dataset_id: number, task_id: string, retry_count: number, max_retries: number, options) => {
    const { json = false, dryRun: dry_run = false, forTask: for_task = false } = options as Options;
    const config = await commandConfig();
    const log = createLogger('verify_upload_integrity', { dataset_id }, { to: 2 });
    const uploads = openUploads(config);
    try {
      const say = (line: string): void => void (json || process.stdout.write(`${line}\n`));
      const last = retry_count >= max_retries;
      const parts = { config, uploads, log, say };
      const found = await alone(parts, overlapOf(dataset_id, { dry_run, for_task }), () =>
        checkUpload(parts, { dataset_id, task_id, last, dry_run }),
      );
      if (json) printJson({ dataset_id, dry_run, ...found });
      else say(`dataset ${dataset_id} is ${found.status}${dry_run ? ' (dry run: nothing was changed)' : ''}`);
    } finally {
      uploads.close();
    }
  });

/**
 * A worker's own run has its claim already, so that the lock is only for whoever comes beside it by hand: it does without Redis.
 * What was digested in hours is not given up for a Redis that was away: two that ran all the same say the same.
 */
const overlapOf = (
  dataset_id: number,
  { dry_run, for_task }: { dry_run: boolean; for_task: boolean },
): Overlap => ({
  script: 'verify_upload_integrity',
  subjects: [String(dataset_id)],
  dry_run,
  outlives_lock: true,
  wait_seconds: 5,
  without_redis: for_task,
});

function whole(text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number.');
}

await runProgram(program);
