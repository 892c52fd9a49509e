/** What holds of the JSON of every command; docs/commands.md says it. */
import { Command } from 'commander';
import { expect, onTestFinished, test } from 'vitest';
import { COMMAND_FILES } from '../../scripts/cli/commands.ts';
import { createLogger } from '../../workers/log.ts';
import { createEngine } from '../../workers/workflows/engine.ts';
import { runScript } from '../support/script.ts';
import { makeVault } from '../support/vault.ts';

/** One call at least of every command that has --json, with what it needs to answer. `ID`: of a workflow. */
const CALLS: readonly (readonly [command: string, ...args: string[]])[] = [
  ['status'],
  ['datasets', '--limit', '1'],
  ['workflows'],
  ['tasks'],
  ['show', 'run_A'],
  ['show', 'ID'],
  ['show', 'ID', 'nobody'],
  ['pause', 'ID', '--dry-run'],
  ['revoke', 'ID', 'nobody', '--dry-run'],
  ['resume', 'ID', '--dry-run'],
  ['prioritize', 'ID', '3', '--dry-run'],
  ['stage', 'run_A', '--dry-run'],
  ['archive', 'run_A', '--dry-run'],
  ['purge', 'run_A', '--dry-run'],
  ['qc', 'run_A', '--dry-run'],
  ['delete', 'run_A', '--dry-run'],
  ['start', 'copies', 'run_A', '--dry-run'],
  ['recall', 'run_A', 'readme.txt', '--dry-run'],
  ['manifest', 'run_A'],
  ['verify', 'run_A'],
  ['verify', 'run_A', 'nobody'],
  ['fixity'],
  ['fixity', 'run_A'],
  ['fixity', '--lacking'],
  ['pin', 'run_A', '--days', '2'],
  ['unpin', 'run_A', '--dry-run'],
  ['fleet'],
  ['ping'],
  ['active'],
  ['cancel', 'ID'],
  ['grow', 'all', '--dry-run'],
  ['shrink', 'all', '--dry-run'],
  ['shutdown', 'all', '--dry-run'],
  ['pause-queue', '--dry-run'],
  ['resume-queue', '--dry-run'],
  ['drain', 'all', '--dry-run'],
  ['undrain', 'all', '--dry-run'],
  ['scale', '--history'],
  ['limits'],
  ['doctor'],
  ['config'],
  ['drill', '--list'],
  ['schedules'],
  ['gateway', '--no-such-option'],
  ['token', '--sub', 'somebody', '--dry-run'],
  ['metrics', '--recorded'],
  ['populate-bundles', '--dry-run'],
  ['adopt', '/nowhere/run_A.tar', '--dataset-type', 'RAW_DATA', '--dry-run'],
  ['write-off', 'nowhere', '--dry-run'],
  ['raise-alarms', '--dry-run'],
  ['reconcile', '--dry-run'],
  ['purge-stale-workflows', '--dry-run'],
  ['delete-queue', '--dry-run'],
  ['setup-dirs'],
];
/** A line of JSON for each line of a log. */
const LINES = new Set(['logs']);

test('every command that gives JSON is looked at here', async () => {
  const program = new Command();
  for (const file of COMMAND_FILES) (await file.load())(program);
  const giving = program.commands.filter(({ options }) => options.some(({ long }) => long === '--json'));
  const named = giving.map((command) => command.name()).filter((name) => !LINES.has(name));
  expect([...new Set(CALLS.map(([name]) => name))]).toEqual(expect.arrayContaining(named));
});

test('the JSON of every command is one object; its dates are ISO 8601 UTC, its bytes whole numbers', async () => {
  const vault = await makeVault();
  const { id: dataset_id } = await vault.add('run_A');
  const { config } = vault.place;
  const { store } = vault;
  const engine = await createEngine({ config, store, log: createLogger('test', {}, { level: 'silent' }) });
  onTestFinished(() => engine.close());
  const { id } = await engine.start('integrated', { dataset_id, initiator: 'test' });
  const claim = { workflow_id: id, index: 0, worker: 'w1@host', host: 'host' };
  expect(await store.records.claim(claim, { max_losses: 3 })).toMatchObject({ verdict: 'run' });

  for (const [command, ...args] of CALLS) {
    const words = args.map((word) => (word === 'ID' ? id : word));
    const { stdout } = await vault.longshore(command, ...words, '--json');
    const what = [command, ...args].join(' ');
    const value = parsed(stdout, what);
    expect(Array.isArray(value) ? 'a list' : typeof value, what).toBe('object');
    expect(oddities(value), what).toEqual([]);
  }
});

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`longshore ${what} --json: ${text}`);
  }
}

const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Paths of values that are not written as all others are. */
function oddities(value: unknown, path = ''): string[] {
  const key = path.split('.').at(-1) ?? '';
  if (value !== null && typeof value === 'object')
    return Object.entries(value).flatMap(([name, one]) =>
      oddities(one, Array.isArray(value) ? path : `${path}.${name}`),
    );
  const date = /_at$|^(since|until|date_start|date_done|date_end)$/.test(key) && key !== 'looked_at';
  const odd =
    (date && value !== null && (typeof value !== 'string' || !DATE.test(value))) ||
    (typeof value === 'string' && /^\d{4}-\d\d-\d\d[T ]/.test(value) && !DATE.test(value)) ||
    (/(^|_)(bytes|size)$/.test(key) && value !== null && !Number.isSafeInteger(value)) ||
    (/(^|_)seconds$/.test(key) && value !== null && typeof value !== 'number');
  return odd ? [`${path}: ${JSON.stringify(value)}`] : [];
}

test.each<[script: string, code: number, ...args: string[]]>([
  ['longshore.ts', 78, 'status'],
  ['longshore.ts', 78, 'setup-dirs'],
  ['longshore.ts', 78, 'token', '--sub', 'somebody'],
  ['metrics.ts', 78, '--dry-run'],
  ['register.ts', 78, '/nowhere', '--dataset-type', 'RAW_DATA'],
  ['register_dataset.ts', 78, 'name', '/nowhere', '-r'],
  ['verify_upload_integrity.ts', 78, '1', 'task', '0', '3'],
  ['create_test_import_datasets.ts', 78],
  ['start_worker.ts', 78, '--dry-run'],
  // Of the container, and asked for before the configuration is read.
  ['entrypoint.ts', 1],
])(
  '%s tells what keeps it from its work as one object too, and ends with %i',
  async (script, exit, ...args) => {
    const { code, stdout, stderr } = await runScript(script, [...args, '--json'], {
      APP_ENV: 'no-such-place',
      WORKER_TYPE: '',
    });
    const { error } = parsed(stdout, script) as { error: Record<string, unknown> };
    expect({ code, stderr }).toEqual({ code: exit, stderr: '' });
    expect(error).toMatchObject({
      code: exit === 78 ? 'E_CONFIG' : 'E_USAGE',
      message: expect.stringContaining(exit === 78 ? 'no-such-place' : 'celery_worker'),
      hint: expect.stringMatching(/./),
    });
  },
);
