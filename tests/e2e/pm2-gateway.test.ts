import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { clientOf, tokenOf, writeKeys } from '../gateway/gateway.ts';
import { makePlace } from '../support/place.ts';
import { COMPILE_CACHE, processesWith } from '../support/processes.ts';
import { until } from '../support/until.ts';

const root = join(import.meta.dirname, '../..');

test('pm2 starts the gateway where it is enabled, starts it again when it is killed, and stops it without a trace', {
  timeout: 300_000,
}, async () => {
  const place = await makePlace({ gateway: { enabled: true, port: 0 } });
  writeKeys(place.config);
  const env: NodeJS.ProcessEnv = {
    ...place.env,
    ...COMPILE_CACHE,
    PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`,
    HOME: place.folder,
    PM2_HOME: place.path('pm2'),
  };
  const pm2 = (...args: string[]) =>
    spawnSync(join(root, 'node_modules/.bin/pm2'), args, { cwd: root, env, encoding: 'utf8' });
  onTestFinished(() => void pm2('kill'));
  const started = pm2('start', 'ecosystem.config.js', '--only', 'gateway');
  expect(started.status, started.stdout + started.stderr).toBe(0);
  const app = () =>
    (JSON.parse(pm2('jlist').stdout.replace(/^[^[]*/, '')) as { name: string; pid: number }[])[0];
  const log = (): string => readFileSync(place.path('log/gateway.log'), 'utf8');
  const addresses = (): string[] => [...log().matchAll(/"address":"([^"]+)"/g)].map(([, at = '']) => at);
  await until(() => addresses().length === 1, { what: 'the gateway to listen' });
  expect(app()).toMatchObject({ name: 'gateway' });
  const token = await tokenOf(place.config);
  expect((await clientOf(addresses()[0] ?? '', token)('/rhythm/workflows')).status).toBe(200);

  process.kill(app()?.pid ?? 0, 'SIGKILL');
  await until(() => addresses().length === 2, { what: 'the gateway to listen again' });
  expect((await clientOf(addresses()[1] ?? '', token)('/workflows')).status).toBe(200);
  pm2('stop', 'gateway');
  expect(log()).toContain('"msg":"stopped"');
  pm2('kill');
  await until(() => processesWith(place.folder).length === 0, { what: 'all processes gone' });
});
