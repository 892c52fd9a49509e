import { parseRedisUrl } from '../../config/redis-url.ts';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makePlace } from '../support/place.ts';
import { load, overrides, problemsOf } from './support.ts';

const root = join(import.meta.dirname, '../..');

test('every problem is reported at once, by key, with what was expected and where it came from', async () => {
  const problems = await problemsOf(
    overrides({
      app_id: 'has space',
      registration: { poll_interval_seconds: 'soon', RAW_DATA: { source_dir: 'relative' } },
      paths: { RAW_DATA: { stagee: '/x' } },
      autoscale: { min: 5, max: 2 },
      frobnicate: true,
    }),
  );
  const text = problems.join('\n');
  expect(text).toContain('app_id: expected letters, digits, dots, dashes and underscores, got "has space"');
  expect(text).toMatch(/registration\.poll_interval_seconds: .*number.*got "soon" \(LONGSHORE_OVERRIDES\)/);
  expect(text).toMatch(/registration\.RAW_DATA\.source_dir/);
  expect(text).toContain('paths.RAW_DATA.stagee: unknown key');
  expect(text).toContain('autoscale: expected min to be at most max');
  expect(text).toContain('frobnicate: unknown key');
  expect(problems).toHaveLength(6);
});

test('each missing variable of a fleet is named, all of them together', async () => {
  const problems = await problemsOf({ APP_ENV: 'production' });
  expect(problems).toEqual([
    expect.stringMatching(/^stage\.alias_salt: set the environment variable ALIAS_SALT .* it is required$/),
    expect.stringMatching(/^queue\.url: set the environment variable REDIS_URL .* it is required$/),
  ]);
  const { config } = await load({ APP_ENV: 'production', ALIAS_SALT: 's', REDIS_URL: 'redis://h' });
  expect(config.queue.url).toBe('redis://h');
});

test('a relative LONGSHORE_HOME is one problem, and the variable is named', async () => {
  const expected = ['LONGSHORE_HOME: expected an absolute path, got "rel"'];
  expect(await problemsOf({ LONGSHORE_HOME: 'rel' }, { places: true })).toEqual(expected);
  expect(await problemsOf({ LONGSHORE_HOME: 'rel', ...overrides({ app_id: 'has space' }) })).toEqual(
    expected,
  );
});

test('a type without folders, an unknown workflow and a relative archive are contradictions', async () => {
  const problems = await problemsOf(
    overrides({
      dataset_types: ['RAW_DATA', 'DATA_PRODUCT', 'IMAGING'],
      registration: { workflow: 'nothing' },
      workflow_registry: {
        stage: { then: ['qcc'] },
        qc: { steps: [{ name: 'qc', task: 'generate_qc', needs: ['licence', 'drive'] }] },
      },
      resources: { drive: 2 },
      paths: { RAW_DATA: { archive: 'development/x' } },
      fixity: { levels: { tape: 'digest' } },
    }),
  );
  const text = problems.join('\n');
  expect(text).toContain('paths.IMAGING: missing; dataset_types names this type');
  expect(text).toContain('registration.IMAGING: missing; dataset_types names this type');
  expect(text).toContain('registration.workflow: "nothing" is not in workflow_registry');
  expect(text).toContain('workflow_registry.stage.then.0: "qcc" is not in workflow_registry');
  expect(text).toContain('workflow_registry.qc.steps.0.needs: "licence" is not in resources (drive)');
  expect(text).toContain('paths.RAW_DATA.archive: expected an absolute path');
  expect(text).toContain('fixity.levels.tape: neither an archive nor a kind of archive (filesystem, sda,');
});

test('a level or format of log lines that there is not is refused before a logger is made of it', async () => {
  expect(await problemsOf({ LOG_LEVEL: 'loud', LOG_FORMAT: 'xml' })).toEqual([
    'LOG_LEVEL: expected one of trace, debug, info, warn, error, fatal, silent, got "loud"',
    'LOG_FORMAT: expected one of json, pretty, got "xml"',
  ]);
});

test('a lifetime for an unknown type and a low mark that is not below the high one are refused', async () => {
  const pressure = { high_percent: 80, low_percent: 80, min_age_days: 1 };
  const types = { RAW_DATA: { days_to_live: 5 }, RAW: { days_to_live: 5 } };
  // The schema first: what it refuses is not looked at any further.
  expect(await problemsOf(overrides({ stage: { purge: { pressure } } }))).toEqual([
    expect.stringContaining('stage.purge.pressure: expected low_percent below high_percent'),
  ]);
  expect(await problemsOf(overrides({ stage: { purge: { types } } }))).toEqual([
    'stage.purge.types.RAW: unknown key; dataset_types does not name it',
  ]);
});

test('folders that cannot work are refused: files, folders below files, outputs inside of a source, one source twice', async () => {
  const place = await makePlace();
  writeFileSync(place.path('a-file'), '');
  const source = place.dir('source');
  const problems = await problemsOf(
    {
      LONGSHORE_HOME: place.path('home'),
      ...overrides({
        paths: {
          scratch: place.path('a-file'),
          download_dir: place.path('a-file/below'),
          RAW_DATA: { stage: `${source}/staged` },
        },
        registration: { RAW_DATA: { source_dir: source }, DATA_PRODUCT: { source_dir: source } },
      }),
    },
    { places: true },
  );
  const text = problems.join('\n');
  expect(text).toContain(`paths.scratch: expected a folder, but ${place.path('a-file')} is a file`);
  expect(text).toContain(`paths.download_dir: expected a folder, but ${place.path('a-file')}, part of`);
  expect(text).toContain(`${source}/staged lies inside of registration.RAW_DATA.source_dir`);
  expect(text).toContain(`registration.DATA_PRODUCT.source_dir: ${source} is watched already`);
});

test('a folder that this user may not write is refused before anything runs', async ({ skip }) => {
  if (process.getuid?.() !== 0) skip('needs root to become another user');
  const place = await makePlace();
  chmodSync(place.folder, 0o755);
  mkdirSync(place.path('closed'), { mode: 0o755 });
  // The checkout may lie below a folder that only root can enter; then nobody could not even read config/.
  const asNobody = spawnSync(
    'setpriv',
    ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, join(root, 'scripts/config.ts')],
    {
      env: { LONGSHORE_DOTENV: 'none', LONGSHORE_HOME: place.path('closed/home') },
      encoding: 'utf8',
    },
  );
  if (/EACCES.*config/.test(asNobody.stderr)) skip('another user cannot read this checkout');
  expect(asNobody.status).toBe(78);
  expect(asNobody.stderr).toContain(`state_dir: cannot write ${place.path('closed/home')} (below`);
  // Once, and not for each folder that would lie in it.
  expect(asNobody.stderr).toContain('has 1 problem:');
});

test('folders that cannot work are told beside other problems, and once', async () => {
  const place = await makePlace();
  const file = place.path('file');
  writeFileSync(file, '');
  const paths = { scratch: file, download_dir: 'relative', RAW_DATA: { stage: 5, stagee: '/x' } };
  const problems = await problemsOf(overrides({ paths, frobnicate: true }), { places: true });
  const about = (key: string): string[] => problems.filter((problem) => problem.startsWith(`${key}:`));
  for (const key of ['frobnicate', 'paths.download_dir', 'paths.RAW_DATA.stage', 'paths.RAW_DATA.stagee'])
    expect(about(key), key).toHaveLength(1);
  // A folder of the wrong type hides the others; only so much can be seen before it is corrected.
  paths.RAW_DATA = { stage: '/x', stagee: '/x' } as never;
  const more = await problemsOf(overrides({ paths, frobnicate: true }), { places: true });
  expect(more).toContain(`paths.scratch: expected a folder, but ${file} is a file`);
  expect(more).toContain('frobnicate: unknown key; see config/schema.ts for what exists');
});

test('a source that is not mounted yet is no reason to refuse', async () => {
  const place = await makePlace();
  const loaded = await load(
    {
      LONGSHORE_HOME: place.path('home'),
      ...overrides({ registration: { RAW_DATA: { source_dir: '/not/mounted' } } }),
    },
    { places: true },
  );
  expect(loaded.config.registration.RAW_DATA.source_dir).toBe('/not/mounted');
});

test('an app stops with exit code 78 and all problems, before it does anything', async () => {
  const place = await makePlace();
  const result = spawnSync(process.execPath, [join(root, 'workers/worker.ts')], {
    env: { APP_ENV: 'production', LONGSHORE_DOTENV: 'none', LONGSHORE_HOME: place.path('home') },
    encoding: 'utf8',
  });
  expect(result.status).toBe(78);
  expect(result.stderr).toContain('E_CONFIG');
  expect(result.stderr).toContain('ALIAS_SALT');
  expect(result.stderr).toContain('REDIS_URL');
});

test.each([
  ['redis+sentinel://a:1,b,[::1]:3/name', true],
  ['rediss+sentinel://u:p%2Fw@a/name/2', true],
  ['redis+sentinel://a:1,b:2', false],
  ['redis+sentinel://a:1,,b:2/name', false],
  ['redis+sentinel://a:x/name', false],
  ['redis+sentinel://a/name/two', false],
  ['redis+sentinel://u:p/w@a/name', false],
  ['redis+sentinel:///name', false],
])('the address of Sentinels %s is taken: %s', async (url, good) => {
  if (good) {
    expect((await load({ REDIS_URL: url })).config.queue.url).toBe(url);
    return;
  }
  expect(await problemsOf({ REDIS_URL: url })).toEqual([
    expect.stringMatching(
      /^queue\.url: .*expected redis\+sentinel:\/\/user:password@host:port,host:port\/name/,
    ),
  ]);
});

test.each(['redis://secret?x@host:6379', 'redis://secret#x@host:6379'])(
  'of %s the password is not taken for a host',
  (url) => {
    expect(parseRedisUrl(url)).toBeNull();
  },
);
