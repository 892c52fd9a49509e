/**
 * Fields of a query string, read as the reference's server reads them: of a repeated one the last counts, switches may be
 * written `1`, `on`, `yes`, … in any case. What cannot be read is refused with the type of error that it names.
 */
import { z } from 'zod';

/** Where in the OpenAPI page, and in what form, a field is shown. */
type Shown = { description: string } & Record<string, unknown>;

interface Refusal {
  type: string;
  message: string;
}

const TRUE = new Set(['true', '1', 'on', 't', 'y', 'yes']);
const FALSE = new Set(['false', '0', 'off', 'f', 'n', 'no']);

export const flag = (fallback: boolean, shown: Shown) =>
  field(fallback, { type: 'boolean', ...shown }, (text) => {
    const word = text.toLowerCase();
    if (TRUE.has(word)) return true;
    if (FALSE.has(word)) return false;
    return {
      type: 'bool_parsing',
      message: 'Input should be a valid boolean, unable to interpret input',
    };
  });

/** From 0 on. */
export const whole = (fallback: number, shown: Shown) =>
  field(fallback, { type: 'integer', minimum: 0, ...shown }, (text) => {
    const number = /^\s*[+-]?\d+\s*$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(number))
      return {
        type: 'int_parsing',
        message: 'Input should be a valid integer, unable to parse string as an integer',
      };
    if (number < 0)
      return { type: 'greater_than_equal', message: 'Input should be greater than or equal to 0' };
    return number;
  });

export const oneOf = <const T extends string>(words: readonly T[], shown: Shown) =>
  field<T | undefined>(undefined, { type: 'string', enum: words, ...shown }, (text) => {
    const found = words.find((word) => word === text);
    if (found !== undefined) return found;
    const quoted = words.map((word) => `'${word}'`);
    return {
      type: 'enum',
      message: `Input should be ${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`,
    };
  });

/** An empty text is no filter. */
export const text = (shown: Shown) =>
  field<string | undefined>(undefined, { type: 'string', ...shown }, (word) =>
    word === '' ? undefined : word,
  );

/** Must be there. */
export const required = (shown: Shown) =>
  z
    .unknown()
    .transform((value, context) => {
      const last = lastOf(value);
      if (last === undefined) refuse(context, { type: 'missing', message: 'Field required' });
      return last ?? z.NEVER;
    })
    .meta({ type: 'string', ...shown });

/** A field that may be repeated; undefined when it is not there at all. */
export const list = (shown: Shown) =>
  z
    .unknown()
    .transform((value) => (value === undefined ? undefined : [value].flat().map(String)))
    .optional()
    .meta({ type: 'array', items: { type: 'string' }, ...shown });

function field<T>(fallback: T, shown: Record<string, unknown>, read: (text: string) => T | Refusal) {
  const meta = fallback === undefined ? shown : { default: fallback, ...shown };
  return z
    .unknown()
    .optional()
    .transform((value, context): T => {
      const last = lastOf(value);
      if (last === undefined) return fallback;
      const result = read(last);
      if (!isRefusal(result)) return result;
      refuse(context, result);
      return z.NEVER;
    })
    .meta(meta);
}

/** A query string holds texts and lists of texts. */
const lastOf = (value: unknown): string | undefined => [value as string | string[] | undefined].flat().at(-1);

const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && 'message' in value;

function refuse(context: z.RefinementCtx, { type, message }: Refusal): void {
  context.addIssue({ code: 'custom', message, params: { type } });
}
