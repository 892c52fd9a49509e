/** Makes tars that no honest program would: every field of a header can be said, lies included. */
const BLOCK = 512;

export interface Forged {
  readonly name?: string | Buffer;
  readonly type?: string;
  readonly link?: string | Buffer;
  /** A number is written in octal; a buffer stands as it is. */
  readonly size?: number | Buffer;
  readonly mode?: number | Buffer;
  readonly mtime?: number | Buffer;
  readonly data?: string | Buffer;
  readonly prefix?: string;
  readonly magic?: string;
  /** Added to the true sum. */
  readonly wrong?: number;
  /** Bytes at a place of the header, as those of an old sparse map. */
  readonly at?: Readonly<Record<number, Buffer>>;
}

const field = (value: number | Buffer, width: number): Buffer =>
  typeof value === 'number' ? Buffer.from(`${value.toString(8).padStart(width - 1, '0')}\0`) : value;

export function member(forged: Forged = {}): Buffer {
  const data = Buffer.from(forged.data ?? '');
  const header = Buffer.alloc(BLOCK);
  Buffer.from(forged.name ?? 'x').copy(header, 0, 0, 100);
  field(forged.mode ?? 0o644, 8).copy(header, 100);
  field(0, 8).copy(header, 108);
  field(0, 8).copy(header, 116);
  field(forged.size ?? data.length, 12).copy(header, 124);
  field(forged.mtime ?? 1_700_000_000, 12).copy(header, 136);
  header.write(forged.type ?? '0', 156, 'latin1');
  Buffer.from(forged.link ?? '').copy(header, 157, 0, 100);
  header.write(forged.magic ?? 'ustar\x0000', 257, 'latin1');
  header.write(forged.prefix ?? '', 345, 155, 'utf8');
  for (const [place, bytes] of Object.entries(forged.at ?? {})) bytes.copy(header, Number(place));
  header.fill(32, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, forged.wrong ?? 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([header, padded(data)]);
}

export function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

/** A record with a true length. */
export function record(key: string, value: string | Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = body.length;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** An extended header; a string or buffer stands as it is. */
export function pax(
  records: Readonly<Record<string, string | Buffer>> | Buffer | string,
  type = 'x',
): Buffer {
  const data =
    typeof records === 'string' || Buffer.isBuffer(records)
      ? Buffer.from(records)
      : Buffer.concat(Object.entries(records).map(([key, value]) => record(key, value)));
  return member({ name: 'PaxHeaders/x', type, data });
}

/** GNU's way to say a long name (`L`) or link target (`K`). */
export const gnuLong = (type: 'L' | 'K', text: string | Buffer): Buffer =>
  member({
    name: '././@LongLink',
    type,
    data: Buffer.concat([Buffer.from(text), Buffer.of(0)]),
    magic: 'ustar  \0',
  });

export const END = Buffer.alloc(2 * BLOCK);

export const tar = (...members: readonly Buffer[]): Buffer => Buffer.concat([...members, END]);

/** GNU's numbers for what octal digits cannot hold. */
export function base256(value: bigint, width: number): Buffer {
  const bytes = Buffer.alloc(width);
  let rest = BigInt.asUintN(width * 8, value);
  for (let at = width - 1; at >= 0; at--) {
    bytes[at] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  bytes[0] = (bytes[0] as number) | 0x80;
  return bytes;
}
