import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';

/**
 * Proof by other programs than ours: GNU find, sha256sum and tar look at the origin, the staged copy and the bundle.
 * No name is put into a command: each runs inside of the folder it looks at.
 */

/** Every name, type, size and link target, and the sha256 of every file, as one digest each. */
export interface TreeProof {
  readonly names: string;
  readonly contents: string;
  readonly members: number;
  readonly files: number;
}

const LIST = String.raw`find . -mindepth 1 \( -type d -printf 'd %P\0' \) -o \( -type l -printf 'l %l\t%P\0' \) -o -printf '%y %s %P\0' | LC_ALL=C sort -z`;
const SUMS = 'find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum -bz --';

export async function proveTree(folder: string): Promise<TreeProof> {
  const [names, contents] = [await digestOf(LIST, folder), await digestOf(SUMS, folder)];
  return { names: names.digest, contents: contents.digest, members: names.records, files: contents.records };
}

/**
 * As the origin must be found again by whoever lent it: names, sizes, modes, owners and times of change. What cannot be
 * read is not looked into: its landing will fail and say so.
 */
export async function fingerprint(folder: string): Promise<string> {
  const list = String.raw`find "$1" -printf '%y %s %m %U %G %T@ %C@ %l %P\0' | LC_ALL=C sort -z`;
  return (await digestOf(list, '/', { args: [folder], partly: true })).digest;
}

export interface TreeSize {
  /** Folders, links and all. */
  readonly entries: number;
  readonly files: number;
  /** Of what files hold; hard links count once. */
  readonly bytes: number;
}

/** Of what can be read. */
export async function sizeOf(folder: string): Promise<TreeSize> {
  const sum =
    '{ entries++ } $1 == "f" { files++; if ($3 == 1 || !seen[$4]++) bytes += $2 } END { printf "%d %d %.0f", entries, files, bytes }';
  const list = String.raw`find "$1" -printf '%y %s %n %D:%i\n' | LC_ALL=C awk "$2"`;
  const { stdout } = await run('bash', ['-c', list, 'bash', folder, sum], '/');
  const [entries = 0, files = 0, bytes = 0] = stdout.split(' ').map(Number);
  return { entries, files, bytes };
}

/** Differences between a bundle and a tree as GNU tar sees them; none when they agree in every member. */
export async function proveBundle(bundle: string, origin: string, members: number): Promise<string[]> {
  const compare = await run('tar', ['--compare', '--file', bundle], origin);
  const problems = lines(compare);
  if (compare.code !== 0 && compare.code !== 1) problems.push(`tar --compare ended with ${compare.code}`);
  // Comparing looks only at what the bundle has; so that nothing is missing in it, its members are counted.
  const listed = await run('tar', ['--list', '--quoting-style=escape', '--file', bundle], origin);
  const found = listed.stdout.split('\n').filter((line) => line !== '' && line !== './').length;
  if (found !== members) problems.push(`the bundle has ${found} members, the origin ${members}`);
  return problems;
}

export function treeDifferences(origin: TreeProof, staged: TreeProof): string[] {
  const problems: string[] = [];
  if (origin.names !== staged.names) {
    problems.push(
      `names, sizes or links differ (${origin.members} members at the origin, ${staged.members} staged)`,
    );
  }
  if (origin.contents !== staged.contents) problems.push('contents differ (sha256)');
  return problems;
}

/** @param partly what cannot be read is left out */
async function digestOf(
  command: string,
  cwd: string,
  { args = [], partly = false }: { args?: readonly string[]; partly?: boolean } = {},
): Promise<{ digest: string; records: number }> {
  const child = spawn('bash', ['-c', `set -o pipefail; ${command}`, 'bash', ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const hash = createHash('sha256');
  let records = 0;
  let complaint = '';
  child.stdout.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    for (let at = chunk.indexOf(0); at !== -1; at = chunk.indexOf(0, at + 1)) records += 1;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(0, 2000);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0 && !(partly && code === 1))
    throw new Error(`checking ${cwd} failed: ${complaint.trim() || `exit code ${code}`}`);
  return { digest: hash.digest('hex'), records };
}

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

async function run(command: string, args: readonly string[], cwd: string): Promise<Ended> {
  const child = spawn(command, args, {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() };
}

/** Without the times: tar headers hold whole seconds, and tar compares them with fractions where it sees a pax header. */
const lines = ({ stdout, stderr }: Ended): string[] =>
  `${stdout}\n${stderr}`
    .split('\n')
    .filter((line) => line !== '' && !line.endsWith(': Mod time differs'))
    .slice(0, 10);
