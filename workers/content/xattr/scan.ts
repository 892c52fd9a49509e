import { spawn } from 'node:child_process';
import { closeSync, openSync, statfsSync, unlinkSync } from 'node:fs';
import { FILE_SYSTEM, systemCalls, type SystemCalls } from '../system-calls.ts';
import { MAX_XATTR_BYTES } from './xattrs.ts';

/**
 * Looks for extended attributes in a second walk that runs ahead of the packing. It comes in the same order, so the
 * packing thread takes its answers as it goes and holds none of them (feed.ts); a tree without any, as nearly all
 * are, costs an eighth of a second of another core for 50,000 files, and no waiting.
 *
 * Lines of a file without a name:
 *
 *     @<path>                        everything up to this path has been looked at
 *     <path> <name>=<value> …        a member with attributes; all in hex
 *     <path> -                       a member with too many of them
 */
interface XattrScan {
  readonly feed: FeedSource;
  /** Ends it and frees the file. Why it gave no answer, or null. */
  close(): Promise<string | null>;
}

/** What the packing thread is given. */
export interface FeedSource {
  readonly fd: number;
  readonly state: SharedArrayBuffer;
}

export const [RUNNING, ENDED, FAILED] = [0, 1, 2] as const;

/**
 * By name in its own folder: with the whole path each time it took a third longer. A folder that is another one than was
 * looked at, since its owner put a link in its place, is left alone.
 */
const SCRIPT = `
use strict;
my ($root, $list, $get, $most, $counted) = @ARGV;
my $parent = getppid;
$_ += 0 for $list, $get, $most, $counted;
my $buffer = "\\0" x 65536;
my ($out, $looked, $device) = ('', 0);
sub flush_out {
  while (length $out) { my $n = syswrite(STDOUT, $out); die "write: $!" unless defined $n; substr($out, 0, $n) = '' }
}
sub look {
  my ($name, $path) = @_;
  my $length = syscall($list, $name, $buffer, 65536);
  if ($length > 0) {
    my ($sum, @found) = (0);
    for my $attribute (sort grep { /^user\\./s } split /\\0/, substr($buffer, 0, $length)) {
      my $size = syscall($get, $name, $attribute, $buffer, 65536);
      next if $size < 0;
      $sum += $size + length $attribute;
      push @found, unpack('H*', $attribute) . '=' . unpack('H*', substr($buffer, 0, $size));
    }
    $out .= join(' ', unpack('H*', $path), $sum > $most ? '-' : @found) . "\\n" if @found;
  }
  if ($looked++ % 256 == 0) {
    exit 1 if getppid != $parent; # Who asked was killed.
    $out .= '@' . unpack('H*', $path) . "\\n";
    flush_out();
  }
  return $length;
}
sub here { join(':', (lstat '.')[0, 1]) }
sub enter {
  my ($folder, $prefix, $is) = @_;
  chdir $folder or return;
  $is = here() unless defined $is;
  return if here() ne $is;
  opendir(my $handle, '.') or return;
  my @names = sort grep { $_ ne '.' && $_ ne '..' } readdir $handle;
  closedir $handle;
  my ($on, $links) = (lstat '.')[0, 3];
  $device = $on unless defined $device;
  my $folders = $counted && $on == $device && $links > 1 ? $links - 2 : -1;
  for my $name (@names) {
    look($name, "$prefix$name");
    next if $folders == 0;
    my $inner = join(':', (lstat $name)[0, 1]);
    next unless -d _;
    $folders--;
    enter("$folder/$name", "$prefix$name/", $inner);
    chdir $folder or die "chdir: $!";
    return if here() ne $is;
  }
}
exit 0 if look($root, '.') < 0 && $! == 95; # EOPNOTSUPP
enter($root, '');
flush_out();
`;

/**
 * ext4 and XFS, whose folders have a link for each folder in them: where all have been met, the rest are files, which
 * need no look. It saves a third of the scan; other file systems do not all count so.
 */
const COUNTING_FILE_SYSTEMS: ReadonlySet<number> = new Set([FILE_SYSTEM.ext4, FILE_SYSTEM.xfs]);

/**
 * Calls `use` with a scan that has begun, and ends that. With null where there can be none: `failure` then says why, as
 * when it did not come to its end.
 * @param path a free name on the disk; the file is unlinked at once
 */
export async function withXattrScan<T>(
  root: string,
  path: string,
  use: (feed: FeedSource | null) => Promise<T>,
): Promise<{ result: T; failure: string | null }> {
  const calls = systemCalls();
  if (calls === null)
    return { result: await use(null), failure: `the system calls of ${process.arch} are not known` };
  const scan = startScan(root, path, calls);
  try {
    const result = await use(scan.feed);
    return { result, failure: await scan.close() };
  } catch (error) {
    await scan.close();
    throw error;
  }
}

function startScan(root: string, path: string, calls: SystemCalls): XattrScan {
  const fd = openSync(path, 'w+', 0o600);
  unlinkSync(path);
  const state = new SharedArrayBuffer(4);
  const flag = new Int32Array(state);
  const counted = COUNTING_FILE_SYSTEMS.has(statfsSync(root).type) ? 1 : 0;
  const numbers = [calls.llistxattr, calls.lgetxattr, MAX_XATTR_BYTES, counted].map(String);
  const args = ['-e', SCRIPT, '--', root, ...numbers];
  const child = spawn('perl', args, { stdio: ['ignore', fd, 'pipe'] });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    if (stderr.length < 4096) stderr += chunk.toString();
  });
  const ended = new Promise<string | null>((resolve) => {
    child.once('error', (error) => resolve(`perl could not be started: ${error.message}`));
    child.once('close', (code, signal) =>
      resolve(code === 0 ? null : `perl ended with ${signal ?? `code ${code}`}: ${stderr.trim()}`),
    );
  }).then((failure) => {
    Atomics.store(flag, 0, failure === null ? ENDED : FAILED);
    Atomics.notify(flag, 0);
    return failure;
  });
  return {
    feed: { fd, state },
    close: async () => {
      // Only when the packing has failed is it still running; then nobody asks why it ended.
      const running = Atomics.load(flag, 0) === RUNNING && child.kill('SIGKILL');
      const failure = await ended;
      closeSync(fd);
      return running ? null : failure;
    },
  };
}
