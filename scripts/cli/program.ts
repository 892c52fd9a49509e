import { type Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { exactSizes } from '../../workers/dataset/byte-size.ts';
import {
  coerceError,
  type ErrorCode,
  type ErrorReport,
  ERRORS,
  isLongshoreError,
  reportOf,
} from '../../workers/errors.ts';
import { printable } from './format.ts';
import { asTyped } from './typed.ts';

/** What every command's exit code means; stands in each --help. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  state: 4,
  unavailable: 5,
  /** EX_TEMPFAIL of sysexits.h, as {@link EXIT_BUSY}. */
  busy: 75,
  /** As a shell says it of what Ctrl-C ended. */
  stopped: 130,
} as const;

/** Broken for 80 columns: commander wraps only what it lays out itself. */
const EXIT_TEXT = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not possible in this
state, 5 a service is away, 75 another run is active, 78 wrong configuration,
130 stopped`;

const EXIT_OF: Partial<Record<ErrorCode, number>> = {
  E_USAGE: EXIT.usage,
  E_BUSY: EXIT.busy,
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
  E_ARCHIVE_DENIED: EXIT.unavailable,
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
  E_OUTDATED: 78, // pm2 does not start it again: a person has to change what is installed.
  E_REVOKED: EXIT.stopped,
};

export const exitCodeOf = (error: unknown): number => EXIT_OF[coerceError(error).code] ?? EXIT.failed;

/** A command line with the house's manners; subcommands inherit them. */
export function createProgram(name: string, description: string, examples: readonly string[]): Command {
  return new Command(name)
    .description(description)
    .exitOverride()
    .configureHelp({ subcommandTerm, minWidthToWrap: 20 })
    .configureOutput({ outputError: (text, write) => write(text + hintOf(text)) })
    .showHelpAfterError('See --help for the arguments and examples.')
    .addHelpText('after', helpTail(examples));
}

/** Without the usual `[options]`, which every command has, descriptions find room beside it in 80 columns. */
const subcommandTerm = (command: Command): string =>
  [command.name(), ...command.registeredArguments.map(termOf)].join(' ');

const termOf = (argument: Argument): string => {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
  return argument.required ? `<${name}>` : `[${name}]`;
};

/** `show -run_17`: what begins with a dash is taken for an option. */
const hintOf = (text: string): string =>
  /unknown option '-[^-]/.test(text)
    ? 'A name that begins with a dash stands behind --, as in: show -- -name\n'
    : '';

export function helpTail(examples: readonly string[]): string {
  return `\nExamples:\n${examples.map((example) => `  ${asTyped(example)}`).join('\n')}\n\n${EXIT_TEXT}`;
}

export const jsonOption = (): Option => new Option('--json', 'print JSON for programs');

/** `--dry_run, --dry-run`: crontabs and habits of the reference have underscores, everything else here has dashes. */
export const spelled = (name: string): string =>
  name.includes('-') ? `--${name.replaceAll('-', '_')}, --${name}` : `--${name}`;

/** As the reference's scripts take it: `--name`, `--name=True`, `--name True`. Not beside positional arguments. */
export const flag = (name: string, description: string): Option =>
  new Option(`${spelled(name)} [yes]`, description).argParser(yesOrNo);

function yesOrNo(text: string): boolean {
  if (YES.test(text)) return true;
  if (NO.test(text)) return false;
  throw new InvalidArgumentError('Expected True or False.');
}

const YES = /^(true|yes|1)$/i;
const NO = /^(false|no|0)$/i;

const DRY_RUN = 'say what would be done and change nothing';
export const dryRunOption = (): Option => flag('dry-run', DRY_RUN);
/** Of a command with positional arguments, the first of which might be taken for its value: see `withoutValues`. */
export const dryRunBesideArguments = (): Option => new Option(spelled('dry-run'), DRY_RUN);

/** `--dry-run=True` means `--dry-run` for such a command too; what is neither yes nor no is for commander to refuse. */
function withoutValues(argv: readonly string[]): string[] {
  const end = argv.includes('--') ? argv.indexOf('--') : argv.length;
  const words = argv.slice(0, end).flatMap((word) => {
    const value = /^--dry[-_]run=(.*)$/.exec(word)?.[1] ?? '';
    if (YES.test(value)) return ['--dry-run'];
    return NO.test(value) ? [] : [word];
  });
  return [...words, ...argv.slice(end)];
}

/**
 * Runs it and sets the exit code: an error is `CODE: message` and what to do, on stderr, or with --json one object
 * on stdout.
 */
export async function runProgram(program: Command, argv: readonly string[] = process.argv): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // `longshore datasets | head` has read all it wants.
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    // A file on a full disk, as a rule. With --json too it can be told on stderr alone.
    const code = report(Object.assign(error, { path: 'standard output' }), false);
    process.exit(code);
  });
  const json = argv.includes('--json');
  if (json) silence(program);
  try {
    await program.parseAsync(withoutValues(argv));
  } catch (error) {
    process.exitCode = report(error, json);
  }
}

/** What is wrong with the arguments is said once, as JSON. */
function silence(command: Command): void {
  command.configureOutput({ writeErr: () => undefined });
  for (const one of command.commands) silence(one);
}

function report(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.ok; // Help that was asked for.
    // Without --json commander has printed its message.
    if (json)
      printError({
        code: 'E_USAGE',
        message: usageMessage(error),
        hint: asTyped(ERRORS.E_USAGE.hint),
        fields: {},
      });
    return EXIT.usage;
  }
  const told = toldOf(error);
  const { code, message, hint } = told;
  if (json) printError(told);
  else process.stderr.write(`${code}: ${printable(message)}\n${printable(hint)}\n`);
  // Without a code of its own it is a fault of ours: whoever reports it needs the place.
  if (!isLongshoreError(error) && code === 'E_TASK_CRASHED')
    process.stderr.write(`${printable(reportOf(error).traceback)}\n`);
  return exitCodeOf(error);
}

type Told = Pick<ErrorReport, 'code' | 'message' | 'hint' | 'fields'>;

/** As commands tell it, with --json under `error`. */
export function toldOf(error: unknown): Told {
  const { code, message, hint, fields } = reportOf(error);
  return { code, message, hint: asTyped(hint), fields };
}

const printError = (error: Told): void =>
  void process.stdout.write(`${JSON.stringify({ error }, exactSizes)}\n`);

const usageMessage = ({ code, message }: CommanderError): string =>
  code === 'commander.help' ? 'no command was named' : message.replace(/^error: /, '');
