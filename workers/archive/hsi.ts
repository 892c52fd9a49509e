/** The command lines of `hsi` and what its answers mean. */
import { posix } from 'node:path';
import { LongshoreError } from '../errors.ts';
import { type ProgramCall, type ProgramEnd, runProgram } from './program.ts';

/** Stands for itself in hsi's command language. */
const PLAIN = /^[A-Za-z0-9_.,:/+=@%^-]+$/;

/**
 * A path as one word of an hsi command. Plain paths stay as they are, as the reference writes them; others are put into
 * double quotes, in which hsi takes blanks and wildcards as they are and a backslash escapes.
 * @throws E_NAME_UNSAFE the command language ends a command at a line's end, and has no escape for it
 */
export function quoted(path: string): string {
  if (/[\n\r\0]/.test(path) || !path.isWellFormed()) {
    throw new LongshoreError(
      'E_NAME_UNSAFE',
      `the path ${JSON.stringify(path)} cannot be given to hsi: it holds a line break or bytes that are no text`,
      { fields: { path }, hint: 'Register the dataset under another name.' },
    );
  }
  return PLAIN.test(path) ? path : `"${path.replace(/["\\$`]/g, '\\$&')}"`;
}

export interface HsiCommand {
  readonly line: string;
  /** What it asks the archive for: only what is said of this path says that it is absent. */
  readonly path: string;
  /** Its answer has a line for each thing: an error among them says that some are missing, whatever the exit code. */
  readonly lists?: true;
}

const asking = (verb: string, path: string): HsiCommand => ({ line: `${verb} ${quoted(path)}`, path });

export const COMMANDS = {
  put: (local: string, remote: string, checksum: boolean): HsiCommand => ({
    line: `put ${checksum ? '-c on ' : ''}${quoted(local)} : ${quoted(remote)}`,
    path: remote,
  }),
  get: (local: string, remote: string, checksum: boolean): HsiCommand => ({
    line: `get ${checksum ? '-c on ' : ''}${quoted(local)} : ${quoted(remote)}`,
    path: remote,
  }),
  rename: (from: string, to: string): HsiCommand => ({
    line: `mv ${quoted(from)} ${quoted(to)}`,
    path: from,
  }),
  size: (path: string) => asking('ls -s1', path),
  hash: (path: string) => asking('hashlist', path),
  exists: (path: string) => asking('ls', path),
  remove: (path: string) => asking('rm', path),
  makeFolder: (path: string) => asking('mkdir -p', path),
  listBelow: (folder: string): HsiCommand => ({ ...asking('ls -R -s1', folder), lists: true }),
} as const;

export interface HsiOptions {
  readonly name: string;
  readonly hsi: string;
  readonly hsi_args: readonly string[];
  readonly stall_seconds: number;
}

/** HPSS's own code for what is not there. What fails on the way to HPSS (a shell, a keytab) has not got it. */
const ABSENT_CODE = /HPSS_ENOENT|\[-2\b/;
/** The words alone may be about anything: they count only where the asked path is named with them. */
const ABSENT_WORDS = /no such file or directory|does not exist/i;
const DENIED =
  /HPSS_EACCES|HPSS_EPERM|\[-1[:\]]|\[-13\b|Permission denied|authenticat|not authorized|credential|keytab|login (failed|incorrect)/i;
/** What lies between this host and the archive, and says nothing of what is in it. */
const ON_THE_WAY = /\bhost(name)?\b|connect|resolv|network|gateway|socket|timed? ?out/i;
/** Of the lines of hsi, those that tell an error; the others are notices. */
const ERROR_LINE =
  /\*\*\*|HPSS_E|\[-\d+|error|fail|unable|cannot|could not|not found|no such|does not exist|denied|refused/i;
/** A shell's: what it was to run is not there, or may not be run. */
const NOT_RUN: ReadonlySet<number | null> = new Set([126, 127, null]);

/**
 * Runs one command: `hsi -P "<command>"`. Null: it says that the named thing is not there. Whoever acts on that asks for
 * a positive answer first.
 * @throws E_ARCHIVE_UNAVAILABLE, E_ARCHIVE_DENIED, E_TOOL_MISSING
 */
export async function runHsi(
  options: HsiOptions,
  command: HsiCommand,
  call: Pick<ProgramCall, 'signal' | 'watch'> = {},
): Promise<Buffer | null> {
  const end = await runProgram({
    ...call,
    command: options.hsi,
    args: [...options.hsi_args, '-P', command.line],
    stall_seconds: options.stall_seconds,
  });
  // hsi writes its errors to either stream, among lines that mean nothing.
  const all = `${end.stderr}\n${end.stdout.toString('utf8')}`;
  const said = command.lists === true ? withoutEntries(all) : all;
  const whole = command.lists !== true || !linesOf(said).some((line) => ERROR_LINE.test(line));
  if (end.code === 0 && whole) return end.stdout;
  if (!end.stalled && !NOT_RUN.has(end.code) && saysAbsent(said, command.path)) return null;
  throw failure(options, command, end, said);
}

/** Whether a failed command says that the archive was asked and has nothing at this path. */
export function saysAbsent(said: string, path: string): boolean {
  const lines = linesOf(said);
  const errors = lines.filter((line) => ERROR_LINE.test(line)).map((line) => without(line, path));
  if (errors.some((line) => DENIED.test(line) || ON_THE_WAY.test(line))) return false;
  if (errors.some((line) => ABSENT_CODE.test(line))) return true;
  return lines.some((line) => ABSENT_WORDS.test(without(line, path)) && line.includes(path));
}

const linesOf = (said: string): string[] => said.split('\n').filter((line) => line.trim() !== '');

/** A dataset may be called "keytab" or "no such file". */
const without = (line: string, path: string): string => line.replaceAll(path, '');

function failure(options: HsiOptions, command: HsiCommand, end: ProgramEnd, said: string): LongshoreError {
  const how = end.stalled
    ? `nothing moved for ${options.stall_seconds} s`
    : end.code === null
      ? 'was killed'
      : `ended with code ${end.code}`;
  const lines = linesOf(said);
  const errors = lines.filter((line) => ERROR_LINE.test(line));
  const last = lines.findLast((line) => /\*\*\*|error|hsi:/i.test(line)) ?? lines.at(-1) ?? '';
  const denied = errors.some((line) => DENIED.test(without(line, command.path)));
  const code = !end.stalled && denied ? 'E_ARCHIVE_DENIED' : 'E_ARCHIVE_UNAVAILABLE';
  return new LongshoreError(code, `hsi ${how} at "${command.line}"${last === '' ? '' : `: ${last.trim()}`}`, {
    fields: { archive: options.name, command: command.line, exit_code: end.code, said: lines.slice(-20) },
  });
}

/**
 * `ls -s1 PATH`: the size stands first on the line. So may a number in a notice ("2 jobs wait for a drive"): the line that
 * ends with the path, or its last part, is preferred.
 */
export function parseSize(stdout: Buffer, path: string): number | null {
  const lines = stdout
    .toString('utf8')
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => /^\s*\d+(?:\s|$)/.test(line));
  const name = posix.basename(path).trimEnd();
  const line = lines.find((one) => one.endsWith(path)) ?? lines.find((one) => one.endsWith(name)) ?? lines[0];
  return line === undefined ? null : Number.parseInt(line.trimStart(), 10);
}

/** `hashlist PATH`: the digest stands first on the line; `(none)` where the archive keeps none. */
export function parseHash(stdout: Buffer): { algorithm: 'md5' | 'sha256'; hex: string } | null {
  // A file's own name may hold any bytes; they are of no interest here.
  for (const line of stdout.toString('latin1').split('\n')) {
    const token = line.trim().split(/\s+/)[0] ?? '';
    if (/^[0-9a-f]{32}$/i.test(token)) return { algorithm: 'md5', hex: token.toLowerCase() };
    if (/^[0-9a-f]{64}$/i.test(token)) return { algorithm: 'sha256', hex: token.toLowerCase() };
    if (token === '(none)') return null;
  }
  return null;
}

const HEAD = /^(\/.*|[^\s*].*\/?):\s*$/;
const ENTRY = /^\s*(\d+)\s+(.+?)\s*$/;

/** A file may be called "error.tar". */
const withoutEntries = (said: string): string =>
  said
    .split('\n')
    .filter((line) => !HEAD.test(line) && !ENTRY.test(line))
    .join('\n');

/** `ls -R -s1 FOLDER`: for each folder its path with a colon, then a line of size and path for each file. */
export function parseListing(stdout: Buffer): { path: string; size: number }[] {
  const found: { path: string; size: number }[] = [];
  let folder = '';
  for (const line of stdout.toString('utf8').split('\n')) {
    const head = HEAD.exec(line);
    const entry = ENTRY.exec(line);
    if (entry?.[1] !== undefined && entry[2] !== undefined) {
      if (entry[2].endsWith('/')) continue;
      const path = entry[2].includes('/') || folder === '' ? entry[2] : `${folder}/${entry[2]}`;
      found.push({ path, size: Number(entry[1]) });
    } else if (head?.[1] !== undefined) folder = head[1].replace(/\/$/, '');
  }
  return found;
}
