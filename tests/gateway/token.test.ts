import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { dirname } from 'node:path';
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { expect, test } from 'vitest';
import { makePlace, type Place } from '../support/place.ts';
import { runScript } from '../support/script.ts';
import { makeGateway, writeKeys } from './gateway.ts';

const token = (place: Place, ...args: string[]) => runScript('longshore.ts', ['token', ...args], place.env);
const modeOf = (path: string): number => statSync(path).mode & 0o777;

test('new keys are for their owner alone, are never overwritten, and sign tokens that the gateway takes', async () => {
  const place = await makePlace();
  const { private_key_file, public_key_file } = place.config.gateway.jwt;
  const dry = await token(place, '--new-keys', '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toEqual({ dry_run: true, private_key_file, public_key_file });
  expect(existsSync(private_key_file)).toBe(false);

  expect((await token(place, '--new-keys')).code).toBe(0);
  expect([modeOf(private_key_file), modeOf(public_key_file)]).toEqual([0o600, 0o600]);
  expect(modeOf(dirname(private_key_file))).toBe(0o700);
  const [made, published] = [readFileSync(private_key_file, 'utf8'), readFileSync(public_key_file, 'utf8')];
  const again = await token(place, '--new-keys');
  expect(again.code).toBe(78);
  expect(again.stderr).toMatch(/^E_GATEWAY_KEY: .*already\n.*Move it away/);
  expect(readFileSync(private_key_file, 'utf8')).toBe(made);

  const issued = await token(place, '--sub', 'bioloop-api');
  expect(issued).toMatchObject({ code: 0, stderr: '' });
  const text = issued.stdout.trim();
  expect(decodeProtectedHeader(text)).toMatchObject({ alg: 'RS256' });
  expect(decodeJwt(text)).toEqual({
    iat: expect.any(Number) as number,
    iss: 'localhost',
    sub: 'bioloop-api',
    source: 'microservice',
  });
  const { ask } = await makeGateway({ place, keys: 'as they are' });
  expect((await ask('/workflows', { authorization: `Bearer ${text}` })).status).toBe(200);
  expect(readFileSync(public_key_file, 'utf8')).toBe(published);
});

test('half a pair is not left: it would stop the next attempt', async () => {
  const place = await makePlace();
  const { private_key_file, public_key_file } = place.config.gateway.jwt;
  mkdirSync(dirname(public_key_file), { recursive: true });
  writeFileSync(public_key_file, 'of somebody else');
  expect((await token(place, '--new-keys')).code).toBe(78);
  expect(existsSync(private_key_file)).toBe(false);
  expect(readFileSync(public_key_file, 'utf8')).toBe('of somebody else');
});

test('a token ends when it is told to, in either spelling of the option', async () => {
  const place = await makePlace();
  writeKeys(place.config);
  for (const option of ['--expires-in', '--expires_in']) {
    const { stdout } = await token(place, '--sub', 'ana', option, '60', '--json');
    const { token: text, ...about } = JSON.parse(stdout) as { token: string };
    expect(about).toEqual({ sub: 'ana', iss: 'localhost', expires_in: 60 });
    const { iat = 0, exp = 0 } = decodeJwt(text);
    expect(exp - iat).toBe(60);
  }
  const dry = await token(place, '--sub', 'ana', '--dry-run', '--json');
  expect(JSON.parse(dry.stdout)).toEqual({ dry_run: true, sub: 'ana', iss: 'localhost', expires_in: null });
});

test.each([
  [['--sub', ' ']],
  [['--sub', 'ana', '--expires-in', '0']],
  [['--sub', 'ana', '--expires-in', 'soon']],
  [['--sub', 'ana', '--new-keys']],
  [[]],
])('token %j is wrong usage', async (args) => {
  expect((await token(await makePlace(), ...args)).code).toBe(2);
});

test('a key that is missing, open to others, of the wrong kind or too short is refused with what to do', async () => {
  const place = await makePlace();
  const file = place.config.gateway.jwt.private_key_file;
  const refused = async (): Promise<string> => {
    const { code, stderr } = await token(place, '--sub', 'ana');
    expect(code).toBe(78);
    expect(stderr).toMatch(/^E_GATEWAY_KEY: /);
    expect(stderr).toContain(file);
    return stderr;
  };
  expect(await refused()).toContain('longshore token --new-keys');
  writeKeys(place.config);
  chmodSync(file, 0o640);
  expect(await refused()).toMatch(/mode 0640; expected 0600[^]*chmod 600/);
  chmodSync(file, 0o600);
  const pem = { type: 'pkcs8', format: 'pem' } as const;
  for (const [kind, key] of [
    ['rsa of 1024', generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey],
    ['ed25519', generateKeyPairSync('ed25519').privateKey],
    ['rsa-pss', generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey],
  ] as const) {
    const text = key.export(pem).toString();
    writeFileSync(file, text);
    const said = await refused();
    expect(said).toContain(kind);
    expect(said).not.toContain(text.split('\n')[1]);
  }
  writeFileSync(file, 'hunter2');
  expect(await refused()).not.toContain('hunter2');
});
