/** What every script and command of an operator has in common. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { config as common } from '../../config/common.ts';
import { runScript } from '../support/script.ts';

const folder = join(import.meta.dirname, '../../scripts');

/** Long-lived apps of pm2, and what only the suite or the demo runs: they print no JSON and have no dry run. */
const NO_SCRIPTS = new Set(['gateway', 'redis', 'foreground', 'demo', 'longshore']);
/** They change nothing that a dry run could leave alone. */
const READ_ONLY = new Set(['config', 'debug_http_server', 'enqueue-test']);

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

const CHANGING = scripts.filter((name) => !READ_ONLY.has(name));
const DRY_RUNS = ['--dry_run', '--dry-run', '--dry_run=True', '--dry-run=True', '--dry_run=False'];

test.each(CHANGING)(
  '%s takes a dry run as the reference writes it, and tells wrong usage as JSON',
  async (name) => {
    const needed = name.startsWith('register') ? ['--dataset-type', 'RAW_DATA'] : [];
    const args = [...DRY_RUNS, ...needed, '--no-such-option', '--json'];
    const { code, stdout, stderr } = await runScript(`${name}.ts`, args, {});
    expect(code).toBe(2);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      error: {
        code: 'E_USAGE',
        message: "unknown option '--no-such-option'",
        hint: expect.stringContaining('--help'),
        fields: {},
      },
    });
    const odd = await runScript(`${name}.ts`, ['--dry_run=perhaps', ...needed], {});
    expect(odd).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('--dry_run') });
  },
);

test('subcommands of longshore tell wrong usage as JSON too', async () => {
  const told = async (...args: string[]) => {
    const { code, stdout, stderr } = await runScript('longshore.ts', args, {});
    expect({ code, stderr }).toEqual({ code: 2, stderr: '' });
    return (JSON.parse(stdout) as { error: { code: string; message: string } }).error;
  };
  const code = 'E_USAGE';
  expect(await told('show', '--json')).toMatchObject({ code, message: "missing required argument 'id'" });
  expect(await told('nonsense', '--json')).toMatchObject({ code, message: "unknown command 'nonsense'" });
  expect(await told('stage', '7', '--dry-run=perhaps', '--json')).toMatchObject({ code });
  expect(await told('--json')).toMatchObject({ code });
});

/** Examples are lines to copy, so they stay in one piece, and usage is commander's. */
const tooWide = (help: string): string[] =>
  help.split('\n').filter((line) => line.length > 80 && !/^( {2}(npx|npm|WORKER_TYPE=)|Usage:)/.test(line));

test.each([...NO_SCRIPTS])('%s has help with examples, and starts nothing then', async (name) => {
  const { code, stdout } = await runScript(`${name}.ts`, ['--help'], {});
  expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/Examples:\n {2}\S/) });
  expect(tooWide(stdout)).toEqual([]);
});

test('the help of longshore fits into 80 columns', async () => {
  const { stdout } = await runScript('longshore.ts', ['--help'], {});
  expect(stdout).toMatch(/\n {2}show <id\.\.\.> +all about datasets/);
  expect(tooWide(stdout)).toEqual([]);
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
    expect(tooWide(stdout)).toEqual([]);
    if (!READ_ONLY.has(name)) expect(stdout).toMatch(/--dry_run, --dry-run/);
    expect(wrong.code).toBe(2);
  },
);

test.each(
  'metrics populate_bundles purge_stale_workflows manage_upload_workflows reconcile setup_dirs init_dirs'.split(
    ' ',
  ),
)('%s takes --dry_run=True, as crontabs of the reference have it', async (name) => {
  const { code, stderr } = await runScript(`${name}.ts`, ['--dry_run=maybe'], {});
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('Expected True or False.') });
});

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
