import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { livingPm2Home, pm2Command, pm2Homes } from '../../workers/fleet/scaling/pm2.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

test('the daemon of pm2 is looked for where its variable says, where npm start has it, and in the home', () => {
  const [checkout, home] = [join(import.meta.dirname, '../../var/pm2'), join(homedir(), '.pm2')];
  vi.stubEnv('PM2_HOME', '');
  onTestFinished(() => void vi.unstubAllEnvs());
  expect(pm2Homes()).toEqual([checkout, home]);
  expect(pm2Command(checkout, 'ls')).toBe(`PM2_HOME=${checkout} npx pm2 ls`);
  expect(pm2Command(home, 'ls')).toBe('npx pm2 ls');
  vi.stubEnv('PM2_HOME', '/elsewhere');
  expect(pm2Homes()).toEqual(['/elsewhere', checkout, home]);
  expect(pm2Command('/elsewhere', 'ls')).toBe('npx pm2 ls');
});

test('a daemon lives where one answers; a socket that a killed one has left behind does not count', async () => {
  const place = await makePlace();
  const [none, stale, alive] = [place.dir('none'), place.dir('stale'), place.dir('alive')];
  const listen = `require('node:net').createServer().listen(process.argv[1])`;
  const killed = spawn(process.execPath, ['-e', listen, join(stale, 'rpc.sock')], { stdio: 'ignore' });
  await until(() => existsSync(join(stale, 'rpc.sock')), { what: 'the socket' });
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  expect(existsSync(join(stale, 'rpc.sock'))).toBe(true);
  expect(await livingPm2Home([none, stale])).toBeNull();

  const server = createServer().listen(join(alive, 'rpc.sock'));
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  expect(await livingPm2Home([none, stale, alive])).toBe(alive);
});
