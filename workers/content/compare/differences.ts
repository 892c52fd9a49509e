import { isLongshoreError, type LongshoreError } from '../../errors.ts';

/** One way in which an archived bundle is not what was archived. */
export interface Difference {
  /** Null: of the bundle as a whole. */
  readonly member: string | null;
  /** `size`, the name of a digest, `manifest`, `header checksum`, `name`, `padding`, … */
  readonly what: string;
  readonly expected: string;
  readonly actual: string;
}

/** A bundle that is nothing but damage must not fill the memory. */
const MAX_DIFFERENCES = 1000;

export class Differences {
  total = 0;
  readonly list: Difference[] = [];

  add(member: string | null, what: string, expected: string, actual: string): void {
    this.total += 1;
    if (this.list.length < MAX_DIFFERENCES) this.list.push({ member, what, expected, actual });
  }

  /** What is wrong with the bytes of a tar or a manifest, as their readers say it. */
  addDamage(member: string | null, error: LongshoreError): void {
    const { what, expected, actual } = error.fields;
    if (typeof what === 'string')
      this.add(member, what, String(expected), `${String(actual)}${placeOf(error)}`);
    else this.add(member, 'manifest', 'complete and unaltered', error.message);
  }
}

const placeOf = ({ fields }: LongshoreError): string =>
  typeof fields.offset === 'number' ? ` at byte ${fields.offset}` : '';

/** Damage is a finding; everything else (an outage, a stop, a fault of ours) goes on upwards. */
export function isDamage(error: unknown): error is LongshoreError {
  return isLongshoreError(error) && error.code === 'E_BUNDLE_CORRUPT';
}
