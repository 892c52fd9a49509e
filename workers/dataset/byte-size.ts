/**
 * A number of bytes, always exact: a number up to 2^53 - 1 (8 PiB), where a number is, and a bigint beyond. The same size
 * always is of the same type, so that two can be compared with `===`. SQLite, MongoDB and the API have 64 bits for it.
 */
export type ByteSize = number | bigint;

export const byteSize = (exact: bigint): ByteSize =>
  exact > BigInt(Number.MAX_SAFE_INTEGER) ? exact : Number(exact);

/** For estimates, progress and plans: rounded to 53 bits. */
export const roughSize = (size: ByteSize | null): number | null => (size === null ? null : Number(size));

/** For JSON.stringify: a bigint is a number with all its digits. */
export const exactSizes = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? exactNumber(value) : value;

/** What JSON.stringify writes as a number, whatever its length. */
export const exactNumber = (value: ByteSize): unknown =>
  typeof value === 'number'
    ? value
    : (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());
