import { z } from 'zod';
import { EnvValue, type Values } from './value.ts';

/** Where records and catalog of a fleet are kept, when `catalog.backend` or `records.backend` is `mongodb`. */
export const mongodb = z.strictObject({
  url: z
    .string()
    .regex(/^mongodb(\+srv)?:\/\/./, 'expected mongodb:// or mongodb+srv://')
    .nullable(),
  /** Null: the one that the URL names, else `longshore`. */
  database: z
    .string()
    .regex(
      /^[^\s/\\."$*<>:|?]{1,63}$/,
      'expected a database name: up to 63 characters without . / \\ " $ or space',
    )
    .nullable(),
  /** An answer that takes longer is given up, and asked for again. */
  answer_seconds: z.number().positive(),
  /** A server that is away is waited for so long, with growing pauses, before the operation fails. */
  patience_seconds: z.number().min(0),
});

/**
 * `MONGODB_URL`, or the URL that the reference's own variables describe, so that its `.env` can be taken over as it is.
 * User and password are percent-encoded: the reference pastes them as they are, and a password with an `@` or a `/`
 * sends it to another host.
 */
export class MongoUrl extends EnvValue {
  constructor() {
    super('MONGODB_URL', { fallback: null, secret: true });
  }

  override read(values: Values): { variable: string; text: string } | undefined {
    if (values.MONGODB_URL) return super.read(values);
    const text = urlOf(values);
    return text === undefined ? undefined : { variable: 'MONGO_HOST', text };
  }
}

/** Several hosts, with commas, may stand in MONGO_HOST; MONGO_PORT is for those that name none. */
function urlOf(values: Values): string | undefined {
  const hosts = values.MONGO_HOST?.split(',').filter((host) => host.trim() !== '') ?? [];
  if (hosts.length === 0) return undefined;
  const port = values.MONGO_PORT || '27017';
  const servers = hosts
    .map((host) => host.trim())
    .map((host) => (/:\d+$/.test(host) ? host : `${host}:${port}`));
  const user = values.MONGO_USER || '';
  const password = values.MONGO_PASS || '';
  const login = user === '' ? '' : `${encodeURIComponent(user)}:${encodeURIComponent(password)}@`;
  const source = values.MONGO_AUTH_SOURCE || '';
  const options = source === '' ? '' : `?authSource=${encodeURIComponent(source)}`;
  return `mongodb://${login}${servers.join(',')}/${options}`;
}

const BACKENDS = ['catalog', 'records'] as const;

/** What the schema cannot say: a back end in MongoDB needs a server, and the two back ends have to fit. */
export function storeProblems(values: Record<string, unknown>): string[] {
  const of = (section: string, key: string): unknown =>
    (values[section] as Record<string, unknown> | null | undefined)?.[key];
  const [catalog, records] = BACKENDS.map((section) => of(section, 'backend'));
  const inMongo = BACKENDS.filter((section) => of(section, 'backend') === 'mongodb');
  const problems: string[] = [];
  if (inMongo.length > 0 && (of('mongodb', 'url') ?? null) === null) {
    const keys = inMongo.map((section) => `${section}.backend`).join(' and ');
    problems.push(`mongodb.url: set MONGODB_URL (or MONGO_HOST and its like), as ${keys} is "mongodb"`);
  }
  if (catalog === 'sqlite' && records === 'mongodb') {
    problems.push(
      'records.backend: "mongodb" does not go with catalog.backend "sqlite", whose file is for one host; expected "sqlite", or another catalog',
    );
  }
  if (catalog === 'mongodb' && records === 'sqlite') {
    problems.push(
      'records.backend: "sqlite" does not go with catalog.backend "mongodb": a dataset and its workflow are kept in one place; expected "mongodb"',
    );
  }
  return problems;
}
