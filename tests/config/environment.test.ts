import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readEnvironment } from '../../config/env.ts';
import { loadConfig } from '../../config/load.ts';
import { makePlace } from '../support/place.ts';

test('a value in .env beats the same variable in the environment', async () => {
  const place = await makePlace();
  writeFileSync(place.path('.env'), 'ALIAS_SALT=from-file\n');
  const environment = readEnvironment({
    folder: place.folder,
    base: { ALIAS_SALT: 'from-env', OTHER: 'kept' },
  });
  expect(environment.values).toMatchObject({ ALIAS_SALT: 'from-file', OTHER: 'kept' });
  const { config, origins } = await loadConfig({ environment });
  expect(config.stage.alias_salt).toBe('from-file');
  expect(origins.get('stage.alias_salt')).toEqual({ layer: '.env ALIAS_SALT', secret: true });
});

test('.env is searched upward from the config folder', async () => {
  const place = await makePlace();
  writeFileSync(place.path('.env'), 'APP_ENV=docker\n');
  const found = readEnvironment({ folder: place.dir('a/b/config'), base: {} });
  expect(found.file).toBe(place.path('.env'));
  expect((await loadConfig({ environment: found })).config.app_env).toBe('docker');
});

test('${VAR} expands from the file and from the environment, with a default after :-', async () => {
  const place = await makePlace();
  writeFileSync(
    place.path('.env'),
    'HOST=redis.example.org\nREDIS_URL=redis://${HOST}:${PORT:-6379}/${DB}\nQUEUE_USER="${LOGIN}"\n',
  );
  const { values } = readEnvironment({ folder: place.folder, base: { DB: '3', LOGIN: 'me' } });
  expect(values).toMatchObject({ REDIS_URL: 'redis://redis.example.org:6379/3', QUEUE_USER: 'me' });
});

test('LONGSHORE_DOTENV names another file, or none; one that is not there is refused', async () => {
  const place = await makePlace();
  writeFileSync(place.path('.env'), 'ALIAS_SALT=default\n');
  writeFileSync(place.path('other'), 'ALIAS_SALT=other\n');
  const read = (LONGSHORE_DOTENV: string) =>
    readEnvironment({ folder: place.folder, base: { LONGSHORE_DOTENV } }).values.ALIAS_SALT;
  expect(read(place.path('other'))).toBe('other');
  expect(read('none')).toBeUndefined();
  expect(read('')).toBe('default');
  expect(() => read(place.path('missing'))).toThrow(`${place.path('missing')} cannot be read`);
});

test('switches and numbers of the gateway may come from the environment, and are checked', async () => {
  const environment = (values: Record<string, string>) => ({
    values,
    file: null,
    fromFile: new Set<string>(),
  });
  const load = (values: Record<string, string>) => loadConfig({ environment: environment(values) });
  const { config } = await load({ LONGSHORE_GATEWAY: 'on', GATEWAY_PORT: '6001', LONGSHORE_HOME: '/srv/x' });
  expect(config.gateway).toMatchObject({ enabled: true, port: 6001, host: '127.0.0.1' });
  expect(config.gateway.jwt.public_key_file).toBe('/srv/x/gateway/public.pem');
  expect((await load({ LONGSHORE_GATEWAY: 'false' })).config.gateway.enabled).toBe(false);
  const fleet = { APP_ENV: 'production', ALIAS_SALT: 's', REDIS_URL: 'redis://h' };
  expect((await load(fleet)).config.gateway.jwt.issuer).toBe('rhythm_api');
  await expect(load({ LONGSHORE_GATEWAY: 'maybe', GATEWAY_PORT: '70000' })).rejects.toMatchObject({
    fields: {
      problems: [
        expect.stringContaining('gateway.enabled: expected true or false, got "maybe"'),
        expect.stringMatching(/^gateway\.port: .*65535/),
      ],
    },
  });
});
