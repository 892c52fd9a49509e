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
