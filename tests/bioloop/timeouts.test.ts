/** Servers that are there and never answer, at each step on the way to a connection. */
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createApiClient } from '../../workers/bioloop/client.ts';
import { makePlace } from '../support/place.ts';

const fixtures = join(import.meta.dirname, '../fixtures');
/** Long before an answer would be too late, and much longer than the connection may take. */
const WITHIN = { timeout: 25_000 };
const ASKED = { endpoint: 'GET datasets', path: 'datasets' };

type Failure = { code: string; message: string; fields: Record<string, unknown> };

/** Half a minute is what an answer may take: who waits for that has not looked at the connection. */
async function failuresOf(base_url: string): Promise<Failure[]> {
  const client = createApiClient({
    base_url,
    auth_token: 't',
    conn_timeout: 0.2,
    read_timeout: 30,
    retries: 0,
  });
  onTestFinished(() => client.close());
  const failed = (asking: Promise<unknown>): Promise<Failure> =>
    asking.then(
      () => expect.unreachable('it succeeded'),
      (error: unknown) => error as Failure,
    );
  return [
    await failed(client.request({ ...ASKED, method: 'GET', answer: null })),
    await failed(client.stream(ASKED)),
  ];
}

/** Nothing was sent, so that also what must not run twice may be sent again. */
const tooLate = (step: string) => ({
  code: 'E_API_UNAVAILABLE',
  message: expect.stringContaining(`'${step}' for 200ms`),
  fields: { reason: 'ETIMEDOUT', uncertain: false },
});

test('a server that takes the connection and never ends the TLS handshake is given up', WITHIN, async () => {
  const server = createServer(() => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const found = await failuresOf(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  expect(found).toMatchObject([tooLate('secureConnect'), tooLate('secureConnect')]);
});

test('a server whose queue of connections is full is given up', WITHIN, async ({ skip }) => {
  const child = spawn('python3', [join(fixtures, 'full-backlog.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [line] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string];
  if (!/^\d+\n$/.test(line))
    return skip(`NOT TESTED: ${line.trim()}; connections that never come are not tried`);
  const found = await failuresOf(`http://127.0.0.1:${line.trim()}/`);
  expect(found).toMatchObject([tooLate('connect'), tooLate('connect')]);
});

test('a name service that does not answer is given up', WITHIN, async ({ skip }) => {
  const place = await makePlace();
  const silent = createSocket('udp4');
  onTestFinished(() => void silent.close());
  const bound = await new Promise<boolean>((resolve) => {
    silent.once('error', () => resolve(false));
    silent.bind(53, '127.9.8.7', () => resolve(true));
  });
  const NO_NAMES = 'NOT TESTED: no name service can be set up here; one that is silent is not tried';
  if (!bound) return skip(NO_NAMES);
  const names = place.path('resolv.conf');
  writeFileSync(names, 'nameserver 127.9.8.7\noptions timeout:1 attempts:1\n');
  const setUp = 'mount --bind "$0" /etc/resolv.conf || exit 90; exec "$@"';
  const command = [process.execPath, join(fixtures, 'ask-api.ts'), 'http://api.example.org/'];
  const done = spawnSync('unshare', ['--mount', 'sh', '-c', setUp, names, ...command], { encoding: 'utf8' });
  if (done.error !== undefined || done.status === 90 || done.stderr.startsWith('unshare:'))
    return skip(NO_NAMES);
  expect(JSON.parse(done.stdout)).toMatchObject(tooLate('lookup'));
});

test(
  'a server that stops in the middle of its answer is given up after the read timeout',
  WITHIN,
  async () => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () =>
        socket.write(
          'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"datasets":',
        ),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const base_url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const client = createApiClient({
      base_url,
      auth_token: 't',
      conn_timeout: 5,
      read_timeout: 0.3,
      retries: 0,
    });
    onTestFinished(() => client.close());
    await expect(client.request({ ...ASKED, method: 'GET', answer: null })).rejects.toMatchObject({
      code: 'E_API_UNAVAILABLE',
      fields: { reason: 'ETIMEDOUT' },
    });
    const reading = async () => {
      for await (const _ of (await client.stream(ASKED)).chunks);
    };
    await expect(reading()).rejects.toMatchObject({
      code: 'E_API_UNAVAILABLE',
      fields: { reason: 'ETIMEDOUT' },
    });
  },
);
