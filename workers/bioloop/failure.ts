/** What went wrong between here and the API, as coded errors. None of them holds the token or what was sent. */
import { type ErrorCode, LongshoreError } from '../errors.ts';
import { RETRY_STATUSES } from './delays.ts';

/** What a failure is about. */
export interface Asked {
  /** As the contract names it: `POST datasets/:id/files`. */
  readonly endpoint: string;
  /** Without user, password and query. */
  readonly url: string;
}

export interface Answered {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const SHOWN = 300;

export const placeOf = (url: URL): string => `${url.origin}${url.pathname}`;

/** No answer: refused, dropped, too late. `uncertain`: the request may have had its effect. */
export function unreachable(asked: Asked, reason: string, code: string, uncertain: boolean): LongshoreError {
  return new LongshoreError(
    'E_API_UNAVAILABLE',
    `${asked.endpoint}: no answer from ${asked.url}: ${reason}`,
    {
      fields: { ...asked, reason: code, uncertain },
    },
  );
}

/** An answer that is no success. Null: it is one. */
export function refusalOf(asked: Asked, answered: Answered): LongshoreError | null {
  const { status } = answered;
  if (status >= 200 && status < 300) return null;
  // A page of errors instead of an answer: it is not the API that says there is no such record.
  if (isHtml(answered) && status < 500 && status !== 429 && status !== 401 && status !== 403)
    return notJson(asked, answered);
  const code = codeOf(status);
  return new LongshoreError(code, `${asked.endpoint}: ${asked.url} answered ${status}${saidBy(answered)}`, {
    fields: { ...asked, status, ...(code === 'E_API_UNAVAILABLE' ? { uncertain: status === 502 } : {}) },
  });
}

function codeOf(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'E_API_REFUSED';
  if (status === 404) return 'E_API_NOT_FOUND';
  if (status === 409) return 'E_API_CONFLICT';
  if (RETRY_STATUSES.has(status)) return 'E_API_UNAVAILABLE';
  if (status >= 500) return 'E_API_FAILED';
  return 'E_API_REQUEST';
}

/** HTML (a proxy, the login page, the user interface) or anything else that is no JSON. */
export function notJson(asked: Asked, { status, contentType, body }: Answered): LongshoreError {
  const kind = contentType === '' ? 'no content type' : contentType;
  return new LongshoreError(
    'E_API_ANSWER',
    `${asked.endpoint}: ${asked.url} answered ${status} with ${kind}; expected application/json`,
    { fields: { ...asked, status, content_type: contentType, begins: body.slice(0, 80) } },
  );
}

/** JSON of another shape than the contract's. */
export function wrongShape(
  asked: Asked,
  issues: readonly { path: readonly PropertyKey[]; message: string }[],
): LongshoreError {
  const places = issues.slice(0, 5).map(({ path, message }) => `${path.join('.') || '(answer)'}: ${message}`);
  return new LongshoreError(
    'E_API_ANSWER',
    `${asked.endpoint}: the answer of ${asked.url} has another shape than its contract: ${places.join('; ')}`,
    {
      fields: { ...asked, paths: issues.map(({ path }) => path.join('.')) },
      class: 'fatal', // The same request gets the same shape.
      hint: 'Compare the version of the API with docs/rest-catalog.md; the named path is not as documented.',
    },
  );
}

export const isHtml = ({ contentType, body }: Answered): boolean =>
  contentType.includes('html') || /^\s*<(!doctype|html)/i.test(body);

/** The words of the API's own error bodies: `{message}` or `{errors: [...]}`. */
function saidBy({ body, contentType }: Answered): string {
  if (body === '' || !contentType.includes('json')) return '';
  try {
    const { message, errors } = JSON.parse(body) as { message?: unknown; errors?: unknown };
    const words = typeof message === 'string' ? message : errors === undefined ? '' : JSON.stringify(errors);
    return words === '' ? '' : `: ${words.slice(0, SHOWN)}`;
  } catch {
    return ''; // Announced as JSON and is none: the status says enough.
  }
}
