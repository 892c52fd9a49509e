/** What every script and command of an operator has in common. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { config as common } from '../../config/common.ts';
import { runScript } from '../support/script.ts';

const folder = join(import.meta.dirname, '../../scripts');

/** Long-lived apps of pm2, and what only the suite or the demo runs. */
const NO_SCRIPTS = new Set(['watch', 'gateway', 'redis', 'foreground', 'demo', 'config', 'longshore']);
/** They change nothing that a dry run could leave alone. */
const READ_ONLY = new Set(['debug_http_server', 'enqueue-test']);

const scripts = readdirSync(folder)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3))
  .filter((name) => !NO_SCRIPTS.has(name));

test('every script of the reference is there by its name', () => {
  const names = [
    'create_test_import_datasets',
    'debug_http_server',
    'delete_queue',
    'init_dirs',
    'metrics',
    'populate_bundles',
    'purge_staged_datasets',
    'purge_stale_workflows',
    'register_dataset',
    'register_ondemand',
    'setup_dirs',
    'shutdown_worker',
    'start_worker',
  ];
  expect(scripts).toEqual(expect.arrayContaining(names));
});

test.each(scripts)(
  '%s has help with examples, JSON, and a dry run where it changes something',
  async (name) => {
    const [{ code, stdout }, wrong] = await Promise.all([
      runScript(`${name}.ts`, ['--help'], {}),
      runScript(`${name}.ts`, ['--no-such-option'], {}),
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/Examples:\n {2}\S/);
    expect(stdout).toContain('Exit codes: 0 done, 1 failed, 2 wrong usage');
    expect(stdout).toContain('--json');
    if (!READ_ONLY.has(name)) expect(stdout).toMatch(/--dry-run/);
    expect(wrong.code).toBe(2);
  },
);

test('the default schedules are those of the reference, and each is a script', () => {
  const at = Object.fromEntries(common.schedules.map(({ script, cron }) => [script, cron]));
  expect(at).toMatchObject({
    metrics: '0 21 * * *',
    purge_staged_datasets: '0 7 * * *',
    purge_stale_workflows: '0 7 * * *',
    scrub: '0 2 * * *',
  });
  expect(Object.keys(at)).toContain('reconcile');
  for (const script of Object.keys(at)) expect(scripts).toContain(script);
});
