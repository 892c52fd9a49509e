import { createHmac, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SignJWT } from 'jose';
import { expect, test } from 'vitest';
import { readPrivateKey } from '../../workers/gateway/keys.ts';
import { issueToken } from '../../workers/gateway/tokens.ts';
import { makeGateway, type TestGateway, tokenOf } from './gateway.ts';

const GUARDED = [
  ['GET', '/workflows'],
  ['GET', '/workflows/counts_by_status'],
  ['GET', '/workflows/x'],
  ['POST', '/workflows'],
  ['POST', '/workflows/x/pause'],
  ['POST', '/workflows/x/resume'],
  ['DELETE', '/workflows/x'],
  ['GET', '/tasks/unique?app_id=x'],
] as const;

test('every address but /health asks for a token, below the root path and without it', async () => {
  const { ask } = await makeGateway();
  for (const root of ['', '/rhythm']) {
    expect(await ask(`${root}/health`, { authorization: null })).toMatchObject({
      status: 200,
      body: { health: 'OK' },
    });
    for (const [method, path] of GUARDED) {
      const refused = await ask(root + path, { method, authorization: null });
      expect(refused, path).toMatchObject({ status: 401, body: { detail: 'Not authenticated' } });
      expect(Object.keys(refused.body as object)).toEqual(['detail']);
      expect(refused.headers.get('www-authenticate')).toBe('Bearer');
      expect((await ask(root + path, { method })).status, path).not.toBe(401);
    }
  }
  // Looks like the root path, and is none.
  expect((await ask('/rhythmic/workflows')).status).toBe(404);
});

test('the names of steps are told of an application that is named, as with the reference', async () => {
  const { ask } = await makeGateway();
  expect(await ask('/tasks/unique')).toMatchObject({
    status: 422,
    body: { detail: [{ type: 'missing', loc: ['query', 'app_id'], msg: 'Field required' }] },
  });
});

async function refused({ ask }: TestGateway, token: string): Promise<string> {
  const { status, body } = await ask<{ detail: string }>('/workflows', { authorization: `Bearer ${token}` });
  expect(status).toBe(401);
  return body.detail;
}

test('a token is good only with our issuer, a subject, its time, RS256 and our key', async () => {
  const gateway = await makeGateway();
  const { config } = gateway.place;
  const key = readPrivateKey(config);
  const claims = (more: Record<string, unknown>) =>
    new SignJWT({ iss: 'localhost', sub: 'api', source: 'microservice', ...more })
      .setProtectedHeader({ alg: 'RS256' })
      .setIssuedAt()
      .sign(key);
  const now = Math.floor(Date.now() / 1000);
  expect((await gateway.ask('/workflows', { authorization: `bearer ${await claims({})}` })).status).toBe(200);
  expect(
    (await gateway.ask('/workflows', { authorization: `Bearer ${await claims({ exp: now + 60 })}` })).status,
  ).toBe(200);
  expect(await refused(gateway, await claims({ iss: 'rhythm_api' }))).toContain('iss');
  expect(await refused(gateway, await claims({ iss: undefined }))).toContain('iss');
  for (const sub of ['', ' ', undefined])
    expect(await refused(gateway, await claims({ sub }))).toContain('sub');
  expect(await refused(gateway, await claims({ exp: now - 1 }))).toContain('expired');
  expect(await refused(gateway, await claims({ nbf: now + 60 }))).toContain('nbf');
  expect(await refused(gateway, 'not.a.token')).toBe('Invalid token');
  for (const authorization of ['Basic YTpi', 'Bearer', `Bearer ${await claims({})} more`])
    expect((await gateway.ask('/workflows', { authorization })).status).toBe(401);

  const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  expect(await refused(gateway, await issueToken(other, { issuer: 'localhost', subject: 'api' }))).toBe(
    'Invalid token',
  );
});

test('a token that chooses its own algorithm is refused', async () => {
  const gateway = await makeGateway();
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = part({ iss: 'localhost', sub: 'api', source: 'microservice' });
  expect(await refused(gateway, `${part({ alg: 'none' })}.${body}.`)).toBe('Invalid token');
  // The public key is no secret: as the secret of HS256 it would let everybody in.
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${body}`;
  const secret = readFileSync(gateway.place.config.gateway.jwt.public_key_file);
  const signature = createHmac('sha256', secret).update(text).digest('base64url');
  expect(await refused(gateway, `${text}.${signature}`)).toBe('Invalid token');
});

test('no token is ever logged, and each request has an id that its log line carries', async () => {
  const { ask, place } = await makeGateway();
  const token = await tokenOf(place.config, 'ana');
  const good = await ask('/workflows?skip=1', { authorization: `Bearer ${token}` });
  await ask('/workflows', { authorization: `Bearer ${token}x` });
  const log = readFileSync(place.path('gateway.log'), 'utf8');
  for (const piece of token.split('.')) expect(log).not.toContain(piece);
  const lines = log
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.find(({ request_id }) => request_id === good.headers.get('x-request-id'))).toMatchObject({
    method: 'GET',
    url: '/workflows?skip=1',
    status: 200,
    subject: 'ana',
  });
});
