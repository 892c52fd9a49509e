/** Runs rclone and says what its failures mean. */
import { LongshoreError } from '../errors.ts';
import { type ProgramCall, type ProgramEnd, runProgram, streamProgram } from './program.ts';

export interface RcloneOptions {
  readonly name: string;
  readonly rclone: string;
  /** `remote:` or `remote:folder`. */
  readonly remote: string;
  readonly config_file: string | null;
  readonly args: readonly string[];
  readonly stall_seconds: number;
}

/** rclone's own tries are few: the task's retries come with a delay, and are seen. */
const COMMON = ['--retries', '2', '--low-level-retries', '3', '--contimeout', '30s', '--timeout', '300s'];
const DENIED =
  /permission denied|access denied|unable to authenticate|AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId|\b40[13]\b|couldn't decrypt|no supported methods remain/i;
const ABSENT_CODES: ReadonlySet<number> = new Set([3, 4]);
const ABSENT = /directory not found|object not found|is a directory or doesn't exist/i;

export type RcloneCall = Pick<ProgramCall, 'signal' | 'input' | 'onStderr'>;

const argsOf = ({ config_file, args }: RcloneOptions, words: readonly string[]): string[] => [
  ...(config_file === null ? [] : ['--config', config_file]),
  ...COMMON,
  ...args,
  ...words,
];

/**
 * Runs one command; null: rclone says that the named thing is not there, which a remote that is not mounted says too.
 * @throws E_ARCHIVE_UNAVAILABLE, E_ARCHIVE_DENIED, E_TOOL_MISSING
 */
export async function runRclone(
  options: RcloneOptions,
  words: readonly string[],
  call: RcloneCall = {},
): Promise<Buffer | null> {
  const { rclone: command, stall_seconds } = options;
  const end = await runProgram({ ...call, command, args: argsOf(options, words), stall_seconds });
  if (end.code === 0) return end.stdout;
  if (isAbsence(end)) return null;
  throw failure(options, words, end);
}

/** What `cat` prints. */
export async function* streamRclone(
  options: RcloneOptions,
  words: readonly string[],
  call: RcloneCall & { onAbsent: () => Promise<LongshoreError> },
): AsyncGenerator<Buffer, void, undefined> {
  const { rclone: command, stall_seconds } = options;
  yield* streamProgram(
    { signal: call.signal, command, args: argsOf(options, words), stall_seconds },
    async (end) => {
      if (end.code === 0) return;
      throw isAbsence(end) ? await call.onAbsent() : failure(options, words, end);
    },
  );
}

const isAbsence = ({ code, stderr, stalled }: Omit<ProgramEnd, 'stdout'>): boolean =>
  !stalled && code !== null && (ABSENT_CODES.has(code) || code === 1) && ABSENT.test(stderr);

function failure(
  options: RcloneOptions,
  words: readonly string[],
  end: Omit<ProgramEnd, 'stdout'>,
): LongshoreError {
  const how = end.stalled
    ? `moved nothing for ${options.stall_seconds} s`
    : end.code === null
      ? 'was killed'
      : `ended with code ${end.code}`;
  const said = end.stderr
    .split('\n')
    .map(messageOf)
    .filter((line) => line !== '');
  const code = !end.stalled && DENIED.test(end.stderr) ? 'E_ARCHIVE_DENIED' : 'E_ARCHIVE_UNAVAILABLE';
  const last = said.at(-1);
  // Its command and paths, never the options: they may hold passwords.
  const what = `rclone ${words[0]} on ${options.remote} ${how}${last === undefined ? '' : `: ${last}`}`;
  return new LongshoreError(code, what, {
    fields: {
      archive: options.name,
      remote: options.remote,
      command: words[0],
      exit_code: end.code,
      said: said.slice(-10),
    },
  });
}

/** A line of rclone, plain or (with --use-json-log) an object; lines of figures say nothing. */
function messageOf(line: string): string {
  if (!line.startsWith('{')) return line.trim();
  try {
    const { msg, stats } = JSON.parse(line) as { msg?: string; stats?: unknown };
    return stats === undefined ? (msg ?? '').trim() : '';
  } catch {
    return line.trim();
  }
}

/** Bytes that a transfer has moved, from rclone's figures once a second. */
export const STATS = ['--use-json-log', '--stats', '1s', '--stats-log-level', 'NOTICE'];

export function readStats(onProgress: ((bytes: number) => void) | undefined): (text: string) => boolean {
  let last = 0;
  return (text) => {
    let moved = false;
    for (const found of text.matchAll(/"stats":\{"bytes":(\d+)/g)) {
      const bytes = Number(found[1]);
      if (bytes <= last) continue;
      last = bytes;
      moved = true;
      onProgress?.(bytes);
    }
    return moved;
  };
}
