/** The gateway as its own process. */
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { request } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { startEvictingRedis } from '../support/evicting-redis.ts';
import { makePlace, type Place } from '../support/place.ts';
import { type RunningScript, runScript, startScript } from '../support/script.ts';
import { until } from '../support/until.ts';
import { bodyOf, clientOf, tokenOf, writeKeys } from './gateway.ts';

async function addressOf(script: RunningScript): Promise<string> {
  const line = await until(() => /"address":"([^"]+)"/.exec(script.stdout()), { what: script.stderr() });
  return line[1] ?? '';
}

async function startGateway(place: Place, entry: [script: string, ...args: string[]], env = {}) {
  const [script, ...args] = entry;
  const running = startScript(script, [...args, '--port', '0'], { ...place.env, ...env });
  const base = await addressOf(running);
  return { running, ask: clientOf(base, await tokenOf(place.config)) };
}

test.each([
  ['node scripts/gateway.ts', ['gateway.ts']],
  ['longshore gateway', ['longshore.ts', 'gateway']],
] as const)('%s serves on the loopback address until it is told to stop', async (_, entry) => {
  const place = await makePlace();
  writeKeys(place.config);
  const { running, ask } = await startGateway(place, [...entry]);
  expect(ask.base).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect((await ask('/rhythm/health', { authorization: null })).body).toEqual({ health: 'OK' });
  expect((await ask('/rhythm/workflows', { json: bodyOf(place.config) })).status).toBe(200);
  running.kill('SIGTERM');
  const { code, stdout, stderr } = await running.ended;
  expect(code, stderr).toBe(0);
  expect(stderr).toBe('');
  expect(stdout).toContain('"signal":"SIGTERM"');
  expect(stdout).toContain('"msg":"stopped"');
});

test('a gateway whose Redis may evict jobs says so in its log', async () => {
  const place = await makePlace({ queue: { url: null } });
  await startEvictingRedis(place);
  writeKeys(place.config);
  const { running, ask } = await startGateway(place, ['gateway.ts']);
  expect((await ask('/workflows', { json: bodyOf(place.config) })).status).toBe(200);
  await until(() => running.stdout().includes('Redis may drop jobs'), { what: 'the line' });
});

test('a request that is being answered when the gateway is stopped gets its answer', async () => {
  const place = await makePlace();
  writeKeys(place.config);
  const { running, ask } = await startGateway(place, ['gateway.ts']);
  const json = JSON.stringify(bodyOf(place.config));
  const sent = request(`${ask.base}/workflows`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${await tokenOf(place.config)}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(json),
    },
  });
  const answer = once(sent, 'response');
  // Half of it is there when the signal comes; it is at work, and its other half follows.
  sent.write(json.slice(0, 20));
  await until(async () => (await ask('/health')).status === 200);
  running.kill('SIGTERM');
  await until(() => running.stdout().includes('stopping'), { what: 'the stop' });
  sent.end(json.slice(20));
  const [response] = (await answer) as [{ statusCode: number; resume(): void }];
  expect(response.statusCode).toBe(200);
  response.resume();
  expect((await running.ended).code).toBe(0);
});

test('a gateway whose Redis is away starts, reads, and stops in good order', async () => {
  const place = await makePlace();
  writeKeys(place.config);
  const { running, ask } = await startGateway(place, ['gateway.ts'], { REDIS_URL: 'redis://127.0.0.1:1' });
  expect((await ask('/workflows')).status).toBe(200);
  expect((await ask('/workflows', { json: bodyOf(place.config) })).status).toBe(503);
  running.kill('SIGINT');
  expect((await running.ended).code).toBe(0);
});

test('without a key it does not start, and says what to do', async () => {
  const place = await makePlace();
  const { code, stderr } = await runScript('gateway.ts', ['--port', '0'], place.env);
  expect(code).toBe(78);
  expect(stderr).toMatch(/^E_GATEWAY_KEY: there is no public key .*\n.*longshore token --new-keys/);
});

test('a port that is taken is told by its number', async () => {
  const place = await makePlace();
  writeKeys(place.config);
  const other = createServer();
  onTestFinished(() => void other.close());
  await once(other.listen(0, '127.0.0.1'), 'listening');
  const { port } = other.address() as AddressInfo;
  const { code, stderr } = await runScript('gateway.ts', ['--port', String(port)], place.env);
  expect(code).toBe(5);
  expect(stderr).toContain(`E_PORT: cannot listen on 127.0.0.1, port ${port}: EADDRINUSE`);
  expect((await runScript('gateway.ts', ['--port', '70000'], place.env)).code).toBe(2);
});

test('an address that other machines reach is warned about, since it speaks no TLS', async () => {
  const place = await makePlace();
  writeKeys(place.config);
  const { running } = await startGateway(place, ['gateway.ts'], { GATEWAY_HOST: '0.0.0.0' });
  await until(() => running.stdout().includes('speaks no TLS'), { what: 'the warning' });
});
