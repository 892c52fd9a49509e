import { corrupt } from './header.ts';

/** pax records: `<length> <key>=<value>\n`, where the length counts itself. Values are bytes: names may be no UTF-8. */
export function paxRecord(key: string, value: Buffer | string): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** @param at offset of the records in the bundle, for messages */
export function parsePax(bytes: Buffer, at: number): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
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
    records.set(bytes.toString('utf8', space + 1, equals), Buffer.from(bytes.subarray(equals + 1, end - 1)));
    start = end;
  }
  return records;
}
