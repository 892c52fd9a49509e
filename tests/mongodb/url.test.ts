import { expect, test } from 'vitest';
import type { Config } from '../../config/index.ts';
import { connectMongo } from '../../workers/mongodb/connection.ts';

const mongodb = { database: null, answer_seconds: 1, patience_seconds: 0 };

test.each([
  ['mongodb://u:se/cret@host/db', /password contains unescaped/i],
  ['mongodb://u:secret@host:99999/db', /host:99999/],
  ['mongodb://u:secret@/db', /host list/],
  ['mongodb://u:secret@host/db?bogus=1', /bogus/],
  ['mongodb://u:secret@host/a.b', /'\.'/],
])('%s is refused with what is wrong and what was expected, and without the password', async (url, what) => {
  const refused = await connectMongo({ mongodb: { ...mongodb, url } } as Config).catch((error) => error);
  expect(refused).toMatchObject({ code: 'E_CONFIG', class: 'operator' });
  expect(refused.message).toMatch(what);
  expect(refused.message).toMatch('mongodb.url');
  expect(refused.message).toMatch('expected mongodb://');
  expect(refused.message).not.toMatch(/se\/?cret/);
});
