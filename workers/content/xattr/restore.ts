import { spawnSync } from 'node:child_process';
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { writeFully } from '../files.ts';
import { encodePath } from '../path.ts';
import { removeFile } from '../publish.ts';
import { systemCalls } from '../system-calls.ts';
import { isKept, MAX_XATTR_BYTES, type Xattrs } from './xattrs.ts';

/**
 * A file that its owner may not write (mode 0444) takes no attribute either, unless root sets it: such a file is made
 * writable for a moment. Gives the number of failures and the first of them.
 */
const SCRIPT = `
use strict;
my ($root, $set) = @ARGV;
$set += 0;
my ($failed, $first) = (0, '');
while (my $line = <STDIN>) {
  chomp $line;
  my ($path, @fields) = split / /, $line;
  my $full = $root . '/' . pack('H*', $path);
  for (@fields) {
    my ($name, $value) = map { pack('H*', $_) } split /=/, $_, 2;
    next if put($full, $name, $value);
    my $why = "$!";
    if ($! == 13) { # EACCES
      my $mode = (lstat $full)[2] & 07777;
      my $done = chmod($mode | 0200, $full) && put($full, $name, $value);
      $why = "$!";
      chmod $mode, $full;
      next if $done;
    }
    $first ||= unpack('H*', $full) . " $why";
    $failed += 1;
  }
}
print "$failed $first";
sub put { my ($full, $name, $value) = @_; return syscall($set, $full, $name, $value, length $value, 0) == 0 }
`;

const PENDING_BYTES = 256 * 1024;

/** Attributes that are set in one run when all files stand, since each run of perl takes as long as many files. */
export class XattrWriter {
  readonly #root: string;
  #fd: number | null = null;
  #members = 0;
  #too_large = 0;
  #pending: string[] = [];
  #bytes = 0;

  constructor(root: string) {
    this.#root = root;
  }

  add(path: string, xattrs: Xattrs): void {
    const fields: string[] = [];
    let bytes = 0;
    for (const [key, text] of Object.entries(xattrs)) {
      if (!isKept(key)) continue;
      const [name, value] = [encodePath(key), Buffer.from(text, 'base64')];
      bytes += name.length + value.length;
      fields.push(`${hex(name)}=${hex(value)}`);
    }
    if (bytes > MAX_XATTR_BYTES) this.#too_large += 1;
    if (fields.length === 0 || bytes > MAX_XATTR_BYTES) return;
    this.#members += 1;
    const line = `${[hex(encodePath(path)), ...fields].join(' ')}\n`;
    this.#pending.push(line);
    this.#bytes += line.length;
    if (this.#bytes >= PENDING_BYTES) this.#flush();
  }

  /** What could not be done, for a person; null when nothing was left out. */
  set(): string | null {
    const failure = this.#members === 0 ? null : this.#setAll();
    if (this.#too_large === 0) return failure;
    const left_out = `the extended attributes of ${this.#too_large} members are larger than ${MAX_XATTR_BYTES} bytes and were left out`;
    return failure === null ? left_out : `${failure}; ${left_out}`;
  }

  #setAll(): string | null {
    const calls = systemCalls();
    if (calls === null) return this.#notSet(`the system calls of ${process.arch} are not known`);
    this.#flush();
    // A descriptor of its own: its place in the file is the start.
    const input = openSync(`/proc/self/fd/${this.#fd}`, 'r');
    try {
      const args = ['-e', SCRIPT, '--', this.#root, String(calls.lsetxattr)];
      const done = spawnSync('perl', args, { stdio: [input, 'pipe', 'pipe'], encoding: 'latin1' });
      if (done.error !== undefined) return this.#notSet(done.error.message);
      if (done.status !== 0)
        return this.#notSet(`perl ended with ${done.signal ?? done.status}: ${done.stderr}`);
      const [count = '', path = '', ...why] = done.stdout.split(' ');
      if (count === '0') return null;
      const first = Buffer.from(path, 'hex').toString();
      return `${count} extended attributes could not be set, first of ${first}: ${why.join(' ')}`;
    } finally {
      closeSync(input);
    }
  }

  close(): void {
    if (this.#fd !== null) closeSync(this.#fd);
    this.#fd = null;
  }

  #notSet(why: string): string {
    return `the extended attributes of ${this.#members} members could not be set: ${why}`;
  }

  #flush(): void {
    if (this.#fd === null) {
      const path = `${this.#root}.xattrs`;
      removeFile(path); // A kill between the next two left it.
      this.#fd = openSync(path, 'wx+', 0o600);
      unlinkSync(path);
    }
    writeFully(this.#fd, Buffer.from(this.#pending.join('')), this.#root);
    this.#pending = [];
    this.#bytes = 0;
  }
}

const hex = (bytes: Buffer): string => bytes.toString('hex');
