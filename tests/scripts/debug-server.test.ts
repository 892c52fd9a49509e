import { connect } from 'node:net';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { startScript } from '../support/script.ts';
import { until } from '../support/until.ts';

async function start(...args: string[]) {
  const server = startScript('debug_http_server.ts', ['0', ...args], {});
  const found = await until(() => /http:\/\/127\.0\.0\.1:(\d+)/.exec(server.stderr()), { what: 'its port' });
  return { server, url: found[0], port: Number(found[1]) };
}

test('every method is answered with 200 OK, and its line, headers and body are printed', async () => {
  const { server, url } = await start();
  for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
    const body = method === 'GET' ? undefined : `{"from":"${method}"}`;
    const sent = { method, headers: { 'X-Run-Id': 'run 17' }, ...(body === undefined ? {} : { body }) };
    const answer = await fetch(`${url}/datasets/7?deep=1`, sent);
    expect([answer.status, await answer.text()]).toEqual([200, 'OK']);
    await until(() => server.stdout().includes(`${method} /datasets/7?deep=1 HTTP/1.1\n`));
    if (body !== undefined) await until(() => server.stdout().includes(`\n\n${body}\n`));
  }
  expect(server.stdout().toLowerCase()).toContain('\nx-run-id: run 17\n');
  server.kill('SIGTERM');
  expect(await server.ended).toMatchObject({ code: 0, signal: null });
});

test('as JSON one line for each request, headers that come twice included; what steers a terminal is shown as text', async () => {
  const { server, port } = await start('--json');
  const socket = connect(port, '127.0.0.1').resume();
  socket.write(
    'PUT /x HTTP/1.1\r\nHost: h\r\nTag: a\r\nTag: b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\u001b[2Jx',
  );
  await once(socket, 'close');
  const line = await until(() => server.stdout().split('\n')[0], { what: 'the request' });
  expect(JSON.parse(line)).toMatchObject({
    line: 'PUT /x HTTP/1.1',
    headers: expect.arrayContaining([
      ['Tag', 'a'],
      ['Tag', 'b'],
    ]),
    body: '\u001b[2Jx',
    bytes: 5,
  });
  const plain = await start();
  await fetch(plain.url, { method: 'POST', body: '\u001b[2Jx' });
  await until(() => plain.server.stdout().includes('[2Jx'));
  expect(plain.server.stdout()).not.toContain('\u001b');
});

test('a port that is taken is refused by name', async () => {
  const { port } = await start();
  const second = await startScript('debug_http_server.ts', [String(port)], {}).ended;
  expect(second).toMatchObject({ code: 2, stderr: expect.stringContaining('EADDRINUSE') });
  expect((await startScript('debug_http_server.ts', ['http'], {}).ended).code).toBe(2);
});
