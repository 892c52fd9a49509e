import { spawnSync } from 'node:child_process';
import { readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mergeLayers, resolveAppEnv } from '../../config/layers.ts';
import { makePlace } from '../support/place.ts';
import { environment, load, loaderWith, overrides, problemsOf } from './support.ts';

test('an overlay merges objects, replaces arrays and scalars whole, and leaves other keys', () => {
  const base = { a: { b: 1, c: { d: 2 } }, list: [1, 2, 3], text: 'x', gone: { deep: true }, kept: null };
  const merged = mergeLayers(base, { a: { c: { e: 3 } }, list: [9], text: null, gone: 'flat' });
  expect(merged).toEqual({
    a: { b: 1, c: { d: 2, e: 3 } },
    list: [9],
    text: null,
    gone: 'flat',
    kept: null,
  });
  expect(base).toEqual({
    a: { b: 1, c: { d: 2 } },
    list: [1, 2, 3],
    text: 'x',
    gone: { deep: true },
    kept: null,
  });
});

test('the docker overlay replaces rejects, keeps the poll interval, and merges into registration', async () => {
  const { config } = await load({ APP_ENV: 'docker' });
  expect(config.registration.RAW_DATA.rejects).toEqual(['.snapshots', '_testObservedPath_*']);
  expect(config.registration.wait_between_stability_checks_seconds).toBe(5);
  expect(config.registration.poll_interval_seconds).toBe(10);
  expect(config.paths.RAW_DATA.stage).toBe('/opt/sca/data/staged/raw_data');
});

test('APP_ENV=ci is docker; unset and blank are local', async () => {
  const ci = await load({ APP_ENV: 'ci' });
  const docker = await load({ APP_ENV: 'docker' });
  expect(ci.config).toEqual(docker.config);
  expect(ci.config.app_env).toBe('docker');
  expect([undefined, '', '  '].map(resolveAppEnv)).toEqual(['local', 'local', 'local']);
});

test('an unknown APP_ENV is refused by name, with the known ones; internal files are no environments', async () => {
  const [problem] = await problemsOf({ APP_ENV: 'moon' });
  expect(problem).toBe(
    'APP_ENV is "moon", but there is no config/moon.ts; known: docker, local, production, test',
  );
  for (const name of ['schema', 'common', 'load', 'of', '../config/local']) {
    expect((await problemsOf({ APP_ENV: name }))[0]).toContain(`APP_ENV is "${name}"`);
  }
});

test('a new environment is one new file, also with a dataset type of its own', async () => {
  const place = await makePlace();
  const loadWithLab = await loaderWith(
    place.folder,
    'lab',
    `import { typeFolders } from './folders.ts';
     export const config = {
       dataset_types: ['RAW_DATA', 'DATA_PRODUCT', 'IMAGING'],
       stage: { alias_salt: 'lab' },
       paths: { IMAGING: typeFolders('/data', 'imaging') },
       registration: { IMAGING: { source_dir: ['/scope1', '/scope2'], rejects: [] } },
     };`,
  );
  const { config } = await loadWithLab({ environment: environment({ APP_ENV: 'lab' }) });
  expect(config.app_env).toBe('lab');
  expect(config.dataset_types).toContain('IMAGING');
  expect(config.registration.RAW_DATA.rejects).toEqual(['.snapshots']);
});

test('a file of config/ with a slip of the pen is a wrong configuration, told with its line', async () => {
  const place = await makePlace();
  await loaderWith(place.folder, 'lab', 'export const config = {\n  stage: { alias_salt: ;\n};\n');
  const ask = `const { configOrExit } = await import(${JSON.stringify(place.path('config/index.ts'))}); await configOrExit();`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', ask], {
    env: { ...process.env, ...place.env, APP_ENV: 'lab' },
    encoding: 'utf8',
  });
  expect(stderr).toMatch(/^E_CONFIG: config\/lab\.ts cannot be loaded: \/\S+\/config\/lab\.ts:2: /m);
  expect(status).toBe(78);
});

test('under pm2 a file that was saved a moment ago is read again, and one that stays wrong ends with 78', async () => {
  const place = await makePlace();
  await loaderWith(place.folder, 'lab', 'export const config = {\n  stage: {');
  const ask = `const { configOrExit } = await import(${JSON.stringify(place.path('config/index.ts'))}); await configOrExit();`;
  const start = (env: NodeJS.ProcessEnv) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', ask], {
      env: { ...process.env, ...place.env, APP_ENV: 'lab', ...env },
      encoding: 'utf8',
    });
  expect(start({}).status).toBe(78);
  const { status, stderr } = start({ pm_id: '0' });
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /config\/lab\.ts cannot be loaded: [^]*It was saved \d+ s ago and may not be whole yet/,
  );
  const age = (seconds: number): void => {
    const time = new Date(Date.now() - seconds * 1000);
    const folder = place.path('config');
    for (const path of ['.', ...readdirSync(folder)]) utimesSync(join(folder, path), time, time);
  };
  age(60);
  expect(start({ pm_id: '0' }).status).toBe(78);
  age(-3600); // Written by a host whose clock is ahead.
  expect(start({ pm_id: '0' }).status).toBe(78);
  const dotenv = place.path('saved.env');
  writeFileSync(dotenv, 'LOG_LEVEL=info\n');
  age(60);
  expect(start({ pm_id: '0', LONGSHORE_DOTENV: dotenv }).status).toBe(1);
});

test('LONGSHORE_OVERRIDES lies over the environment file; text that is no JSON object is refused unquoted', async () => {
  const { config } = await load(overrides({ paths: { RAW_DATA: { stage: '/fast' } } }));
  expect(config.paths.RAW_DATA.stage).toBe('/fast');
  expect(config.paths.RAW_DATA.qc).toContain('/qc/');
  const [problem] = await problemsOf({ LONGSHORE_OVERRIDES: '{"queue":{"password":"hunter2"' });
  expect(problem).toBe('LONGSHORE_OVERRIDES is no valid JSON');
  expect(await problemsOf({ LONGSHORE_OVERRIDES: '[1]' })).toEqual([
    'LONGSHORE_OVERRIDES must be a JSON object',
  ]);
});

test('everything is frozen, and two loads share nothing', async () => {
  const first = await load({});
  const second = await load({});
  expect(() => {
    (first.config.registration.RAW_DATA.rejects as string[]).push('x');
  }).toThrow(TypeError);
  expect(() => {
    (first.config as { app_id: string }).app_id = 'other';
  }).toThrow(TypeError);
  expect(Object.isFrozen(first.config.workflow_registry.integrated?.steps[0])).toBe(true);
  expect(second.config.workflow_registry).not.toBe(first.config.workflow_registry);
});

test('the archive path keeps {year} until it is used, so that New Year needs no restart', async () => {
  const { config } = await load({});
  expect(config.paths.RAW_DATA.archive).toContain('/{year}/');
});
