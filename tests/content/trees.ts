import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** A folder with everything that has ever broken an archiver. */
export function makeOddTree(root: string): void {
  const file = (path: string | Buffer, content: string | Buffer = randomBytes(700)): void =>
    writeFileSync(
      typeof path === 'string' ? join(root, path) : Buffer.concat([Buffer.from(`${root}/`), path]),
      content,
    );
  mkdirSync(join(root, 'empty folder'), { recursive: true });
  mkdirSync(join(root, Array.from({ length: 40 }, (_, level) => `level-${level}`).join('/')), {
    recursive: true,
  });
  file('plain.txt', 'hello\n');
  file('empty', '');
  file('.hidden');
  file('-rf');
  file(' leading and trailing ');
  file('new\nline');
  file(`quotes ' " and \`ticks\` $HOME`);
  file('back\\slash \\xff');
  file('ünïcödé-ßß-文件-😀.txt');
  file('n'.repeat(255));
  file(`${'ü'.repeat(127)}x`);
  file(Buffer.from([0x6c, 0xe4, 0x74, 0xff, 0x31])); // latin1 bytes that are no UTF-8
  file(Buffer.from('a\xff/'.slice(0, 2), 'latin1'));
  file(`${Array.from({ length: 40 }, (_, level) => `level-${level}`).join('/')}/deep`);
  for (const size of [1, 511, 512, 513, 131_072, 131_073, 262_144, 300_001, 1_500_000]) {
    file(`size-${size}`, randomBytes(size));
  }
  mkdirSync(join(root, 'a'));
  file('a/z');
  file('a-b');
  file('a.txt');
  symlinkSync('plain.txt', join(root, 'link'));
  symlinkSync('a', join(root, 'link to folder'));
  symlinkSync('nowhere', join(root, 'dangling'));
  symlinkSync('/etc/hostname', join(root, 'absolute'));
  symlinkSync(`../${'t'.repeat(200)}`, join(root, 'a/outside'));
  makeSparse(join(root, 'holes'), 3_000_000, [0, 1_000_000, 2_999_999]);
  makeSparse(join(root, 'only a hole'), 1_000_000, []);
  makeSparse(join(root, 'ends in a hole'), 2_000_000, [4096]);
  chmodSync(join(root, 'plain.txt'), 0o640);
  chmodSync(join(root, 'a.txt'), 0o777);
  mkdirSync(join(root, 'read-only'));
  file('read-only/inside');
  chmodSync(join(root, 'read-only/inside'), 0o444);
  chmodSync(join(root, 'read-only'), 0o555);
  settleTimes(root);
  utimesSync(join(root, 'plain.txt'), 1_234_567_890.25, 1_234_567_890.25);
  utimesSync(join(root, 'empty folder'), 1_000_000_000, 1_000_000_000);
}

/**
 * Gives everything in a tree a time in the middle of what `portrait` tells apart. Node keeps times to a quarter of a
 * microsecond, and one that lies just above a step would come back just below it.
 */
export function settleTimes(root: string): void {
  execFileSync('find', [root, '-exec', 'touch', '-h', '-d', '2024-05-06 07:08:09.123455', '{}', '+']);
}

/** A file with one byte of data at each of the places. */
export function makeSparse(path: string, size: number, places: readonly number[]): void {
  const fd = openSync(path, 'w');
  ftruncateSync(fd, size);
  for (const place of places) writeSync(fd, Buffer.from('x'), 0, 1, place);
  closeSync(fd);
}

/**
 * What independent tools say of a tree: name, type, mode, size, link target, time to the microsecond, and the bytes.
 * Directories' own sizes are left out; the file system chooses them.
 */
export function portrait(root: string, options: { times?: boolean; modes?: boolean } = {}): string[] {
  const mode = options.modes === false ? '' : '%m';
  const time = options.times === false ? '' : '%T@';
  const format = `%P\\t%y\\t${mode}\\t%s\\t%l\\t${time}\\0`;
  const run = (program: string, args: string[]): Buffer =>
    execFileSync(program, args, { cwd: root, maxBuffer: 1e9, env: { ...process.env, LC_ALL: 'C' } });
  const listed = run('find', ['.', '-printf', format]).toString('latin1').split('\0').filter(Boolean);
  const sums = run('find', ['.', '-type', 'f', '-exec', 'b2sum', '--zero', '{}', '+']);
  const entries = listed.map((line) => {
    const [name, type, bits, size, target, stamp = ''] = line.split('\t');
    // A tenth of a microsecond is what a double keeps.
    return [name, type, bits, type === 'd' ? '' : size, target, stamp.replace(/(\.\d{5}).*/, '$1')].join(
      '\t',
    );
  });
  return [...entries, ...sums.toString('latin1').split('\0').filter(Boolean)].sort();
}

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Many of random bytes, for `writeTree`: `<folder>/0000` and on. */
export const smallFiles = (
  folder: string,
  count: number,
  bytes: (index: number) => number,
): Record<string, Buffer> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [
      `${folder}/${String(index).padStart(4, '0')}`,
      randomBytes(bytes(index)),
    ]),
  );
