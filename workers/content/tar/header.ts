import { LongshoreError } from '../../errors.ts';
import { encodePath } from '../path.ts';

/**
 * One 512-byte tar header, POSIX ustar. Reads also what GNU tar, old tars and Python write: base-256 numbers, the
 * GNU magic (whose prefix field is something else), empty magic.
 */
export const BLOCK = 512;

/** Type flags. The old '\0' of a file is read as '0'. */
export const TYPE = {
  file: '0',
  hardLink: '1',
  symbolicLink: '2',
  characterDevice: '3',
  blockDevice: '4',
  directory: '5',
  fifo: '6',
  contiguous: '7',
  gnuLongLink: 'K',
  gnuLongName: 'L',
  gnuSparse: 'S',
  pax: 'x',
  paxGlobal: 'g',
} as const;

/** What a member is, by its flag; all others are refused. */
export const MEMBER_TYPES: Readonly<Record<string, 'file' | 'directory' | 'symbolic link' | 'hard link'>> = {
  [TYPE.file]: 'file',
  [TYPE.contiguous]: 'file',
  [TYPE.gnuSparse]: 'file',
  [TYPE.directory]: 'directory',
  [TYPE.symbolicLink]: 'symbolic link',
  [TYPE.hardLink]: 'hard link',
};

export interface HeaderFields {
  /** Bytes of the name field, at most 100, with `prefix` before it when that is not empty. */
  readonly name: Buffer;
  readonly prefix?: Buffer;
  readonly link?: Buffer;
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Whole seconds. */
  readonly mtime: number;
}

/** Largest values of the octal fields. */
export const MAX_SIZE = 0o77777777777;
export const MAX_ID = 0o7777777;

export function writeHeader(into: Buffer, at: number, fields: HeaderFields): void {
  into.fill(0, at, at + BLOCK);
  fields.name.copy(into, at);
  octal(into, at + 100, 7, fields.mode);
  octal(into, at + 108, 7, fields.uid > MAX_ID ? 0 : fields.uid);
  octal(into, at + 116, 7, fields.gid > MAX_ID ? 0 : fields.gid);
  octal(into, at + 124, 11, fields.size > MAX_SIZE ? 0 : fields.size);
  octal(into, at + 136, 11, fields.mtime < 0 || fields.mtime > MAX_SIZE ? 0 : fields.mtime);
  into.fill(32, at + 148, at + 156);
  into[at + 156] = fields.type.charCodeAt(0);
  fields.link?.copy(into, at + 157);
  into.write('ustar\x0000', at + 257, 8, 'latin1');
  fields.prefix?.copy(into, at + 345);
  octal(into, at + 148, 6, checksum(into, at));
  into[at + 154] = 0;
}

function octal(into: Buffer, at: number, digits: number, value: number): void {
  let rest = value;
  for (let place = at + digits - 1; place >= at; place--) {
    const high = Math.floor(rest / 8);
    into[place] = 48 + (rest - high * 8);
    rest = high;
  }
}

function checksum(bytes: Buffer, at: number): number {
  let sum = 0;
  for (let index = at; index < at + BLOCK; index++) sum += bytes[index] as number;
  return sum;
}

/**
 * Splits a name for the ustar fields: up to 100 bytes, or prefix (155), a slash, and 100 bytes. Null when it needs a
 * pax record. Bytes above 127 are stored as they are: every tar in use reads them so, and a pax record would cost
 * 1 KiB per member.
 */
export function splitName(name: Buffer): { name: Buffer; prefix?: Buffer } | null {
  if (name.length <= 100) return { name };
  if (name.length > 256) return null;
  // The rest after the slash must not be empty: a directory's own trailing slash is no place to split.
  const slash = name.lastIndexOf(47, Math.min(155, name.length - 2));
  if (slash <= 0 || name.length - slash - 1 > 100) return null;
  return { name: name.subarray(slash + 1), prefix: name.subarray(0, slash) };
}

export const nameBytes = (path: string, directory: boolean): Buffer =>
  encodePath(path === '.' ? './' : `./${path}${directory ? '/' : ''}`);

export interface TarHeader {
  readonly name: Buffer;
  readonly link: Buffer;
  readonly type: string;
  readonly mode: number;
  readonly size: number;
  readonly mtime: number;
  /** The block itself, for the parts that only old sparse headers use; valid until the next read. */
  readonly block: Buffer;
}

const USTAR = Buffer.from('ustar\0', 'latin1');

/** Null for a block of zeros, which ends the archive. `at` is the block's offset, for messages. */
export function readHeader(block: Buffer, at: number): TarHeader | null {
  const stored = number(block, 148, 8, at, 'checksum');
  let sum = 256; // The checksum field counts as eight spaces.
  let any = 0;
  for (let index = 0; index < BLOCK; index++) {
    const byte = block[index] as number;
    any |= byte;
    if (index < 148 || index >= 156) sum += byte;
  }
  if (any === 0) return null;
  if (stored !== sum) throw corrupt(at, 'header checksum', String(stored), String(sum));
  const ustar = block.subarray(257, 263).equals(USTAR);
  const prefix = ustar ? field(block, 345, 155) : Buffer.alloc(0);
  const name = field(block, 0, 100);
  const flag = block[156] as number;
  return {
    name: prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name]),
    link: field(block, 157, 100),
    type: flag === 0 ? oldType(name) : String.fromCharCode(flag),
    mode: number(block, 100, 8, at, 'mode') & 0o7777,
    size: number(block, 124, 12, at, 'size'),
    mtime: number(block, 136, 12, at, 'mtime'),
    block,
  };
}

/** Before there were type flags, a slash at the end made a directory. */
const oldType = (name: Buffer): string => (name.at(-1) === 47 ? TYPE.directory : TYPE.file);

function field(block: Buffer, start: number, length: number): Buffer {
  const bytes = block.subarray(start, start + length);
  const zero = bytes.indexOf(0);
  return Buffer.from(zero === -1 ? bytes : bytes.subarray(0, zero));
}

/**
 * Octal digits with blanks or zero bytes around, or base-256 when the first bit is set. Digit by digit, because this
 * runs five times for every member: by text and expression it took a third of the parser's time.
 */
export function number(block: Buffer, start: number, length: number, at: number, what: string): number {
  if (((block[start] as number) & 0x80) !== 0) return base256(block, start, length, at, what);
  const end = start + length;
  let index = start;
  while (index < end && isBlank(block[index] as number)) index += 1;
  let value = 0;
  for (; index < end; index++) {
    const digit = (block[index] as number) - 48;
    if (digit >= 0 && digit < 8) value = value * 8 + digit;
    else if (isBlank(block[index] as number)) break;
    else throw corrupt(at, what, 'an octal number', JSON.stringify(block.toString('latin1', start, end)));
  }
  return value;
}

const isBlank = (byte: number): boolean => byte === 0 || byte === 32;

function base256(block: Buffer, start: number, length: number, at: number, what: string): number {
  const negative = ((block[start] as number) & 0x40) !== 0;
  let value = BigInt((block[start] as number) & 0x7f);
  for (let index = start + 1; index < start + length; index++) {
    value = value * 256n + BigInt(block[index] as number);
  }
  if (negative) value -= 1n << BigInt(length * 8 - 1);
  const small = Number(value);
  if (!Number.isSafeInteger(small)) throw corrupt(at, what, 'a number below 2^53', value.toString());
  return small;
}

export function corrupt(at: number, what: string, expected: string, actual: string): LongshoreError {
  return new LongshoreError(
    'E_BUNDLE_CORRUPT',
    `the bundle is damaged at byte ${at}: ${what} is ${actual}, expected ${expected}`,
    { fields: { offset: at, what, expected, actual } },
  );
}
