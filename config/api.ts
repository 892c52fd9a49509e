import { z } from 'zod';

/** The facility's REST API, see docs/rest-catalog.md. */
export const api = z.strictObject({
  /** Resolved as a URL: a base with a path ends in a slash. */
  base_url: z.url({ protocol: /^https?$/, error: 'expected http:// or https://' }).nullable(),
  auth_token: z.string().min(1, 'expected a non-empty text').nullable(),
  /** Seconds to a connection, and without a byte of an answer. */
  conn_timeout: z.number().positive(),
  read_timeout: z.number().positive(),
  /** Of every pause before something is asked or sent again; 1 as the reference. For drills. */
  delay_scale: z.number().min(0),
  /** A step that needs an answer of the API waits so long in its place before it counts as failed. */
  patience_seconds: z.number().min(0),
});

/** What the schema cannot say: the catalog behind the API needs to know where that is. */
export function apiProblems(values: Record<string, unknown>): string[] {
  const of = (section: string, key: string): unknown =>
    (values[section] as Record<string, unknown> | null | undefined)?.[key] ?? null;
  if (of('catalog', 'backend') !== 'rest') return [];
  return [
    ...(of('api', 'base_url') === null
      ? ['api.base_url: set API_BASE_URL, as catalog.backend is "rest"']
      : []),
    ...(of('api', 'auth_token') === null
      ? ['api.auth_token: set APP_API_TOKEN, as catalog.backend is "rest"']
      : []),
  ];
}
