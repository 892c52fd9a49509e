/** Checks requests against their schemas, and tells of what is wrong in the reference's form: `{detail: [{type, loc, msg}]}`. */
import type { FastifySchemaCompiler } from 'fastify';
import type { z } from 'zod';

export interface Detail {
  type: string;
  loc: (string | number)[];
  msg: string;
}

export class InvalidRequest extends Error {
  override readonly name = 'InvalidRequest';
  readonly statusCode = 422;
  readonly detail: Detail[];

  constructor(detail: Detail[]) {
    super(detail.map(({ loc, msg }) => `${loc.join('.')}: ${msg}`).join('; '));
    this.detail = detail;
  }
}

const PLACES: Readonly<Record<string, string>> = { querystring: 'query', params: 'path', headers: 'header' };

export const validatorCompiler: FastifySchemaCompiler<z.ZodType> =
  ({ schema, httpPart = 'body' }) =>
  (data) => {
    const place = PLACES[httpPart] ?? httpPart;
    // Nothing at all, where JSON is expected.
    if (place === 'body' && (data === undefined || data === null)) return { error: missingBody() };
    if (place === 'body' && isDeeper(data, MOST_LEVELS)) return { error: tooDeep() };
    const checked = schema.safeParse(data);
    if (checked.success) return { value: checked.data };
    return { error: new InvalidRequest(checked.error.issues.map((issue) => detailOf(issue, place, data))) };
  };

/** What is deeper overflows the stack of whatever writes it as JSON again. */
const MOST_LEVELS = 100;

const tooDeep = (): InvalidRequest =>
  new InvalidRequest([
    { type: 'recursion_loop', loc: ['body'], msg: `Input should have at most ${MOST_LEVELS} levels` },
  ]);

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeper(inner, levels - 1));
}

export const missingBody = (): InvalidRequest =>
  new InvalidRequest([{ type: 'missing', loc: ['body'], msg: 'Field required' }]);

export const brokenBody = (): InvalidRequest =>
  new InvalidRequest([{ type: 'json_invalid', loc: ['body'], msg: 'JSON decode error' }]);

const EXPECTED: Readonly<Record<string, [type: string, msg: string]>> = {
  string: ['string_type', 'Input should be a valid string'],
  array: ['list_type', 'Input should be a valid list'],
  record: ['dict_type', 'Input should be a valid dictionary'],
  object: ['dict_type', 'Input should be a valid dictionary'],
};

function detailOf(issue: z.core.$ZodIssue, place: string, data: unknown): Detail {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)));
  const loc = [place, ...path];
  if (issue.code === 'custom') {
    const { type } = issue.params ?? {};
    return { type: typeof type === 'string' ? type : 'value_error', loc, msg: issue.message };
  }
  if (issue.code !== 'invalid_type') return { type: 'value_error', loc, msg: issue.message };
  if (valueAt(data, issue.path) === undefined) return { type: 'missing', loc, msg: 'Field required' };
  const [type, msg] = EXPECTED[issue.expected] ?? ['value_error', issue.message];
  return { type, loc, msg };
}

const valueAt = (data: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (at, part) =>
      typeof at === 'object' && at !== null && Object.hasOwn(at, part)
        ? (at as Record<PropertyKey, unknown>)[part]
        : undefined,
    data,
  );
