import { corrupt } from './header.ts';

/** pax records: `<length> <key>=<value>\n`, where the length counts itself. Values are bytes: names may be no UTF-8. */
export function paxRecord(key: Buffer | string, value: Buffer | string): Buffer {
  const body = Buffer.concat([' ', key, '=', value, '\n'].map((part) => Buffer.from(part as string)));
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** What a member is made of. Other keys are let go by: a bundle may hold any number of them, and of any size. */
const READ: ReadonlySet<string> = new Set([
  'path',
  'linkpath',
  'size',
  'mtime',
  ...['major', 'minor', 'name', 'realsize', 'size', 'map', 'offset', 'numbytes'].map(
    (key) => `GNU.sparse.${key}`,
  ),
]);
/** Of keys of extended attributes, which are those of a member by their number. Others than of users are let go by. */
export const XATTR_PREFIX = 'SCHILY.xattr.';
/** Sparse format 0.0 has a pair of records for each part; the later formats have a map. */
const PARTS: ReadonlySet<string> = new Set(['GNU.sparse.offset', 'GNU.sparse.numbytes']);

/** @param at offset of the records in the bundle, for messages */
export function parsePax(bytes: Buffer, at: number): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  const parts: string[] = [];
  for (let start = 0; start < bytes.length; ) {
    const space = bytes.indexOf(32, start);
    const length = space === -1 ? Number.NaN : Number(bytes.toString('latin1', start, space));
    const end = start + length;
    const equals = bytes.indexOf(61, space + 1);
    const sound =
      Number.isInteger(length) &&
      end <= bytes.length &&
      space < equals &&
      equals < end &&
      bytes[end - 1] === 10;
    if (!sound) throw corrupt(at + start, 'pax record', '"<length> <key>=<value>"', 'malformed');
    const key = bytes.toString('utf8', space + 1, equals);
    const value = bytes.subarray(equals + 1, end - 1);
    if (PARTS.has(key)) parts.push(value.toString('latin1'));
    else if (READ.has(key) || key.startsWith(XATTR_PREFIX)) records.set(key, Buffer.from(value));
    start = end;
  }
  if (parts.length > 0) records.set('GNU.sparse.map', Buffer.from(parts.join(',')));
  return records;
}

/**
 * Attributes are those of the last header before a member. No tar writes them twice, or globally: a thousand headers of a
 * megabyte would all be held for one member, and those of a global header come back with each member that follows.
 */
export const withoutXattrs = (records: ReadonlyMap<string, Buffer>): ReadonlyMap<string, Buffer> =>
  new Map([...records].filter(([key]) => !key.startsWith(XATTR_PREFIX)));

/** Later ones win; an empty value takes back what an earlier one said, but for attributes: GNU tar writes empty ones so. */
export function mergePax(...all: ReadonlyMap<string, Buffer>[]): ReadonlyMap<string, Buffer> {
  const merged = new Map(all.flatMap((records) => [...records]));
  for (const [key, value] of merged)
    if (value.length === 0 && !key.startsWith(XATTR_PREFIX)) merged.delete(key);
  return merged;
}

/** Seconds with as many decimals as there are, which every tar reads. */
export function paxTime(ns: bigint): string {
  const digits = String(ns < 0n ? -ns : ns).padStart(10, '0');
  const decimals = digits.slice(-9).replace(/0+$/, '');
  return `${ns < 0n ? '-' : ''}${digits.slice(0, -9)}${decimals === '' ? '' : `.${decimals}`}`;
}
