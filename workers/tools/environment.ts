/** Ours, and no business of a program that we call. */
const SECRETS = [
  'ALIAS_SALT',
  'APP_API_TOKEN',
  'QUEUE_PASS',
  'QUEUE_SENTINEL_PASS',
  'MONGODB_URL',
  'MONGO_PASS',
  'REDIS_URL',
  // Whatever of the configuration somebody put there.
  'LONGSHORE_OVERRIDES',
];

/** For a script of our own that reads the same configuration. */
export function ownSecrets(): Record<string, string> {
  const set = SECRETS.map((name): [string, string | undefined] => [name, process.env[name]]);
  return Object.fromEntries(set.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** What a program that we call finds in its environment. */
export function environmentFor(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !SECRETS.includes(name));
  return { ...Object.fromEntries(own), ...extra };
}
