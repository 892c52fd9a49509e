import { Command, CommanderError, Option } from 'commander';
import { coerceError, type ErrorCode, reportOf } from '../../workers/errors.ts';
import { asTyped } from './typed.ts';

/** What every command's exit code means; stands in each --help. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  state: 4,
  unavailable: 5,
} as const;

const EXIT_TEXT =
  'Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not possible in this state, 5 a service is away, 78 wrong configuration';

const EXIT_OF: Partial<Record<ErrorCode, number>> = {
  E_USAGE: EXIT.usage,
  E_WORKFLOW_INVALID: EXIT.usage,
  E_TASK_UNKNOWN: EXIT.usage,
  E_DATASET_NOT_FOUND: EXIT.notFound,
  E_WORKFLOW_NOT_FOUND: EXIT.notFound,
  E_PROJECT_NOT_FOUND: EXIT.notFound,
  E_NO_CATALOG: EXIT.notFound,
  E_WORKFLOW_STATE: EXIT.state,
  E_DATASET_EXISTS: EXIT.state,
  E_DATASET_DELETED: EXIT.state,
  E_NOT_ARCHIVED: EXIT.state,
  E_REDIS_UNAVAILABLE: EXIT.unavailable,
  E_NO_WORKER: EXIT.unavailable,
  E_ARCHIVE_UNAVAILABLE: EXIT.unavailable,
  E_CATALOG_UNAVAILABLE: EXIT.unavailable,
  E_PORT: EXIT.unavailable,
  E_GATEWAY_KEY: 78,
  E_API_UNAVAILABLE: EXIT.unavailable,
  E_API_FAILED: EXIT.unavailable,
  E_API_ANSWER: EXIT.unavailable,
  E_API_REFUSED: EXIT.unavailable,
  E_UPLOAD_NOT_FOUND: EXIT.notFound,
  E_UPLOAD_STATE: EXIT.state,
  E_CONFIG: 78,
};

export const exitCodeOf = (error: unknown): number => EXIT_OF[coerceError(error).code] ?? EXIT.failed;

/** A command line with the house's manners; subcommands inherit them. */
export function createProgram(name: string, description: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(description)
    .exitOverride()
    .showHelpAfterError('See --help for the arguments and examples.')
    .addHelpText('after', helpTail(examples));
}

export function helpTail(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  ${asTyped(example)}`).join('\n')}\n\n${EXIT_TEXT}`;
}

export const jsonOption = (): Option => new Option('--json', 'print JSON for programs');
export const dryRunOption = (): Option =>
  new Option('--dry-run', 'say what would be done and change nothing');

/**
 * Runs it and sets the exit code: an error is `CODE: message` and what to do, on stderr, or with --json one object
 * on stdout.
 */
export async function runProgram(program: Command, argv: readonly string[] = process.argv): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // `longshore datasets | head` has read all it wants.
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    throw error;
  });
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = report(error, argv.includes('--json'));
  }
}

function report(error: unknown, json: boolean): number {
  // Commander has printed its message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const { code, message, fields, traceback, ...said } = reportOf(error);
  const hint = asTyped(said.hint);
  if (json) process.stdout.write(`${JSON.stringify({ error: { code, message, hint, fields } })}\n`);
  else process.stderr.write(`${code}: ${message}\n${hint}\n`);
  // Without a code of its own it is a fault of ours: whoever reports it needs the place.
  if (code === 'E_TASK_CRASHED') process.stderr.write(`${traceback}\n`);
  return exitCodeOf(error);
}
