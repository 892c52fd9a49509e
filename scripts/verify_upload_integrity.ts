/** Run by the task of this name, or by hand: compares an upload with what the browser sent, and sets its status. */
import { InvalidArgumentError } from 'commander';
import { configOrExit } from '../config/index.ts';
import { createLogger } from '../workers/log.ts';
import { openUploads } from '../workers/uploads/rest.ts';
import { createProgram, dryRunBesideArguments, jsonOption, runProgram } from './cli/program.ts';
import { printJson } from './cli/session.ts';
import { checkUpload } from './uploads/check.ts';

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
  .addHelpText('after', 'While the API is away nothing is decided: 5')
  .action(async (dataset_id: number, task_id: string, retry_count: number, max_retries: number, options) => {
    const { json = false, dryRun: dry_run = false } = options as { json?: boolean; dryRun?: boolean };
    const config = await configOrExit();
    const log = createLogger('verify_upload_integrity', { dataset_id }, { to: 2 });
    const uploads = openUploads(config);
    try {
      const say = (line: string): void => void (json || process.stdout.write(`${line}\n`));
      const last = retry_count >= max_retries;
      const found = await checkUpload({ config, uploads, log, say }, { dataset_id, task_id, last, dry_run });
      if (json) printJson({ dataset_id, dry_run, ...found });
      else say(`dataset ${dataset_id} is ${found.status}${dry_run ? ' (dry run: nothing was changed)' : ''}`);
    } finally {
      uploads.close();
    }
  });

function whole(text: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Expected a whole number.');
}

await runProgram(program);
