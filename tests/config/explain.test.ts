import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { explainConfig } from '../../config/explain.ts';
import { load, overrides, problemsOf } from './support.ts';

const SECRETS = {
  APP_API_TOKEN: 'token-7f3a',
  ALIAS_SALT: 'salt-7f3a',
  QUEUE_PASS: 'pass-7f3a',
  QUEUE_SENTINEL_PASS: 'watch-7f3a',
  MONGODB_URL: 'mongodb://u:mongo-7f3a@db/x',
  REDIS_URL: 'redis://user:redis-7f3a@host:6379/0',
};

test('every value is explained with its layer, and every leaf of the configuration is there', async () => {
  const loaded = await load({
    REDIS_URL: 'redis://h',
    ...overrides({ paths: { scratch: '/fast' } }),
  });
  const values = new Map(explainConfig(loaded).map((entry) => [entry.key, entry]));
  expect(values.get('api.read_timeout')).toEqual({
    key: 'api.read_timeout',
    value: 30,
    origin: 'config/common.ts',
  });
  expect(values.get('registration.poll_interval_seconds')?.origin).toBe('config/local.ts');
  expect(values.get('queue.url')?.origin).toBe('environment REDIS_URL');
  expect(values.get('paths.scratch')).toEqual({
    key: 'paths.scratch',
    value: '/fast',
    origin: 'LONGSHORE_OVERRIDES',
  });
  const leaves = (value: unknown, key: string): string[] =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0
      ? Object.entries(value).flatMap(([name, inner]) => leaves(inner, key === '' ? name : `${key}.${name}`))
      : [key];
  expect([...values.keys()].sort()).toEqual(
    leaves(loaded.config, '')
      .filter((key) => key !== 'app_env')
      .sort(),
  );
});

test('a default of the schema is explained as one; a key named secret is hidden wherever it stands', async () => {
  const s3 = { kind: 's3', bucket: 'b', access_key_id: 'id', secret_access_key: 'plain-7f3a' };
  const loaded = await load({ REDIS_URL: 'redis://h', ...overrides({ archive: { backends: { s3 } } }) });
  const values = new Map(explainConfig(loaded, 'archive').map((entry) => [entry.key, entry]));
  expect(values.get('archive.backends.s3.region')).toMatchObject({
    value: 'us-east-1',
    origin: 'config/schema.ts (default)',
  });
  expect(values.get('archive.backends.s3.secret_access_key')?.value).toBe('[hidden]');
});

test.each([
  'pass/7f3a',
  'pass#7f3a',
  'pass?7f3a',
  'pass%zz7f3a',
  '7f3a@pass/7f3a',
  '7f3a@pass#7f3a',
  '7f3a@pass?7f3a',
])('a Redis password that no URL can hold as it is is refused, and told nowhere: %s', async (password) => {
  const problems = await problemsOf({ ...SECRETS, REDIS_URL: `redis://user:${password}@host:6379` });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(/^queue\.url: expected redis:\/\/user:password@host:port, .*\[hidden\]@host/);
  expect(problems[0]).not.toContain('7f3');
});

test('no secret is printed: not in the explanation, not in a problem, not inside of a URL', async () => {
  const explained = JSON.stringify(explainConfig(await load(SECRETS)));
  expect(explained).not.toContain('7f3a');
  expect(explained).toContain('redis://[hidden]@host:6379/0');
  const wrong = await problemsOf({
    ...SECRETS,
    REDIS_URL: 'http://user:redis-7f3a@host',
    ...overrides({
      api: { auth_token: ['token-7f3a'] },
      stage: { alias_salt: { of: 'salt-7f3a' } },
      mongodb: { url: 'mongo-7f3a' },
    }),
  });
  expect(wrong.length).toBeGreaterThanOrEqual(4);
  expect(wrong.join('\n')).not.toContain('7f3a');
});

test('npm run config shows one part on request, as JSON for programs, and lists problems with exit code 78', () => {
  const run = (args: string[], env: Record<string, string> = {}) =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../scripts/config.ts'), ...args], {
      env: { LONGSHORE_DOTENV: 'none', ...env },
      encoding: 'utf8',
    });
  const part = run(['stage.purge', '--json']);
  expect(JSON.parse(part.stdout)).toMatchObject({
    app_env: 'local',
    env_file: null,
    values: [
      { key: 'stage.purge.days_to_live', value: 20, origin: 'config/common.ts' },
      { key: 'stage.purge.max_purges', value: 10 },
      { key: 'stage.purge.types', value: {} },
      { key: 'stage.purge.pressure', value: null },
    ],
  });
  const all = run([], SECRETS);
  expect(all.stdout).toMatch(/stage\.alias_salt\s+\[hidden\]\s+\(environment ALIAS_SALT\)/);
  expect(all.stdout).not.toContain('7f3a');
  expect(run(['no.such.key'])).toMatchObject({
    status: 2,
    stderr: expect.stringContaining('E_USAGE: there is no key "no.such.key"'),
  });
  expect(run(['--bogus'])).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(
      /^error: unknown option '--bogus'\nSee --help for the arguments and examples\.\n/,
    ),
  });
  const bad = run([], overrides({ app_id: '' }));
  expect(bad.status).toBe(78);
  expect(bad.stderr).toContain('app_id: expected letters');
  const told = run(['--json'], overrides({ app_id: '' }));
  expect(told.status).toBe(78);
  expect(JSON.parse(told.stdout)).toMatchObject({
    error: { code: 'E_CONFIG', fields: { app_env: 'local' } },
  });
});

test('it is a command as well, and a reader that has enough is no error', () => {
  const shell = (command: string) =>
    spawnSync('sh', ['-c', command], {
      cwd: join(import.meta.dirname, '../..'),
      env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}`, LONGSHORE_DOTENV: 'none' },
      encoding: 'utf8',
    });
  const { stdout } = shell('node scripts/longshore.ts config stage.purge.days_to_live --json');
  expect(JSON.parse(stdout)).toMatchObject({ values: [{ value: 20 }] });
  // Closed before it writes: every write meets EPIPE.
  const closed = shell('(node scripts/config.ts; echo "ended with $?" >&2) | true');
  expect(closed.stderr).toBe('ended with 0\n');
});
