import { expect, test } from 'vitest';
import { explainConfig } from '../../config/explain.ts';
import { load, overrides, problemsOf } from './support.ts';

const IN_MONGODB = overrides({ catalog: { backend: 'mongodb' }, records: { backend: 'mongodb' } });

test('a back end in MongoDB without a server is refused at the start, by the keys that ask for it', async () => {
  expect(await problemsOf(IN_MONGODB)).toEqual([
    'mongodb.url: set MONGODB_URL (or MONGO_HOST and its like), as catalog.backend and records.backend is "mongodb"',
  ]);
  const { config } = await load({ ...IN_MONGODB, MONGODB_URL: 'mongodb://h/db' });
  expect(config.mongodb).toMatchObject({ url: 'mongodb://h/db', database: null });
  expect((await problemsOf({ MONGODB_URL: 'http://h/db' }))[0]).toMatch(
    /^mongodb\.url: expected mongodb:\/\//,
  );
});

test('catalog and records that do not fit together are refused', async () => {
  const url = { MONGODB_URL: 'mongodb://h/db' };
  for (const one of ['catalog', 'records']) {
    const problems = await problemsOf({ ...url, ...overrides({ [one]: { backend: 'mongodb' } }) });
    expect(problems).toEqual([
      expect.stringMatching(/^records\.backend: .* does not go with catalog\.backend/),
    ]);
  }
});

test('the URL is built from the reference’s variables, with every part encoded, unless MONGODB_URL is set', async () => {
  const parts = {
    MONGO_HOST: 'db.example.org',
    MONGO_PORT: '27018',
    MONGO_DB: 'celery',
    MONGO_AUTH_SOURCE: 'admin',
    MONGO_USER: 'wörk er',
    MONGO_PASS: 'p@ss/w:rd%7f3a',
  };
  const loaded = await load(parts);
  const url = new URL(loaded.config.mongodb.url ?? '');
  expect(url.host).toBe('db.example.org:27018');
  expect(decodeURIComponent(url.username)).toBe(parts.MONGO_USER);
  expect(decodeURIComponent(url.password)).toBe(parts.MONGO_PASS);
  expect(url.searchParams.get('authSource')).toBe('admin');
  expect(loaded.config.mongodb.database).toBe('celery');
  expect(loaded.origins.get('mongodb.url')).toEqual({ layer: 'environment MONGO_HOST', secret: true });
  const explained = JSON.stringify(explainConfig(loaded));
  expect(explained).not.toContain('7f3a');
  expect(explained).toContain('"key":"mongodb.url","value":"[hidden]"');

  const plain = await load({ ...parts, MONGODB_URL: 'mongodb://other' });
  expect(plain.config.mongodb.url).toBe('mongodb://other');
  const bare = await load({ MONGO_HOST: 'a, b:1,c', MONGO_PORT: '' });
  expect(bare.config.mongodb.url).toBe('mongodb://a:27017,b:1,c:27017/');
});
