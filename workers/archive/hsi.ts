/** The command lines of `hsi` and what its answers mean. */
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

export const COMMANDS = {
  put: (local: string, remote: string, checksum: boolean) =>
    `put ${checksum ? '-c on ' : ''}${quoted(local)} : ${quoted(remote)}`,
  get: (local: string, remote: string, checksum: boolean) =>
    `get ${checksum ? '-c on ' : ''}${quoted(local)} : ${quoted(remote)}`,
  size: (path: string) => `ls -s1 ${quoted(path)}`,
  hash: (path: string) => `hashlist ${quoted(path)}`,
  exists: (path: string) => `ls ${quoted(path)}`,
  remove: (path: string) => `rm ${quoted(path)}`,
  makeFolder: (path: string) => `mkdir -p ${quoted(path)}`,
  listBelow: (folder: string) => `ls -R -s1 ${quoted(folder)}`,
} as const;

export interface HsiOptions {
  readonly name: string;
  readonly hsi: string;
  readonly hsi_args: readonly string[];
  readonly stall_seconds: number;
}

/** hsi's words for something that is not there. Everything else that fails is not an absence. */
const ABSENT = /HPSS_ENOENT|\[-2\b|No such file or directory|does not exist/i;
const DENIED =
  /HPSS_EACCES|HPSS_EPERM|\[-1[:\]]|\[-13\b|Permission denied|authenticat|not authorized|credential|keytab|login (failed|incorrect)/i;

/**
 * Runs one command: `hsi -P "<command>"`. Null: it says that the named thing is not there.
 * @throws E_ARCHIVE_UNAVAILABLE, E_ARCHIVE_DENIED, E_TOOL_MISSING
 */
export async function runHsi(
  options: HsiOptions,
  command: string,
  call: Pick<ProgramCall, 'signal' | 'watch'> = {},
): Promise<Buffer | null> {
  const end = await runProgram({
    ...call,
    command: options.hsi,
    args: [...options.hsi_args, '-P', command],
    stall_seconds: options.stall_seconds,
  });
  if (end.code === 0) return end.stdout;
  // hsi writes its errors to either stream, among lines that mean nothing.
  const said = `${end.stderr}\n${end.stdout.toString('utf8')}`;
  if (!end.stalled && end.code !== null && ABSENT.test(said)) return null;
  throw failure(options, command, end, said);
}

function failure(options: HsiOptions, command: string, end: ProgramEnd, said: string): LongshoreError {
  const how = end.stalled
    ? `nothing moved for ${options.stall_seconds} s`
    : end.code === null
      ? 'was killed'
      : `ended with code ${end.code}`;
  const lines = said.split('\n').filter((line) => line.trim() !== '');
  const last = lines.findLast((line) => /\*\*\*|error|hsi:/i.test(line)) ?? lines.at(-1) ?? '';
  const code = !end.stalled && DENIED.test(said) ? 'E_ARCHIVE_DENIED' : 'E_ARCHIVE_UNAVAILABLE';
  return new LongshoreError(code, `hsi ${how} at "${command}"${last === '' ? '' : `: ${last.trim()}`}`, {
    fields: { archive: options.name, command, exit_code: end.code, said: lines.slice(-20) },
  });
}

/** `ls -s1 PATH`: the size stands first on the line; lines of login and notice begin otherwise. */
export function parseSize(stdout: Buffer): number | null {
  for (const line of stdout.toString('utf8').split('\n')) {
    const found = /^\s*(\d+)(?:\s|$)/.exec(line);
    if (found?.[1] !== undefined) return Number(found[1]);
  }
  return null;
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

/** `ls -R -s1 FOLDER`: for each folder its path with a colon, then a line of size and path for each file. */
export function parseListing(stdout: Buffer): { path: string; size: number }[] {
  const found: { path: string; size: number }[] = [];
  let folder = '';
  for (const line of stdout.toString('utf8').split('\n')) {
    const head = /^(\/.*|[^\s*].*\/?):\s*$/.exec(line);
    const entry = /^\s*(\d+)\s+(.+?)\s*$/.exec(line);
    if (entry?.[1] !== undefined && entry[2] !== undefined) {
      if (entry[2].endsWith('/')) continue;
      const path = entry[2].includes('/') || folder === '' ? entry[2] : `${folder}/${entry[2]}`;
      found.push({ path, size: Number(entry[1]) });
    } else if (head?.[1] !== undefined) folder = head[1].replace(/\/$/, '');
  }
  return found;
}
