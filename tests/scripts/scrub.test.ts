import { chmodSync, existsSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { callAlarm } from '../../scripts/fixity/alarm.ts';
import { Budget, costOf, dueOf, levelOf } from '../../scripts/fixity/rotation.ts';
import type { ScrubReport } from '../../scripts/fixity/scrub-run.ts';
import type { Archive } from '../../workers/archive/contract.ts';
import type { Proof } from '../../workers/dataset/types.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { flip } from '../support/archived.ts';
import { runScript, type ScriptResult } from '../support/script.ts';
import { until } from '../support/until.ts';
import { BUNDLES, makeVault, type Vault } from '../support/vault.ts';
import { fingerprint } from '../tasks/landing.ts';

type Report = Omit<ScrubReport, 'rows'> & { copies: ScrubReport['rows'] };

const reportOf = ({ stdout }: ScriptResult): Report => JSON.parse(stdout) as Report;
const outcomes = (done: ScriptResult): string[] =>
  reportOf(done).copies.map(({ name, archive, result }) => `${name} ${archive} ${result}`);
const fixity = (given: object) => ({
  fixity: { max_bytes_per_second: null, prove_every_days: 30, ...given },
});
/** Every copy is due in every run. */
const always = { prove_every_days: 1e-9 };

/** An alarm that keeps what it is told. */
function makeAlarm(
  { place }: Vault,
  then = '',
): { command: string[]; calls: () => Record<string, unknown>[] } {
  const [program, log] = [place.path('alarm.sh'), place.path('alarms')];
  writeFileSync(program, `#!/bin/sh\ncat >> "$1"\n${then}\n`);
  chmodSync(program, 0o755);
  return {
    command: [program, log],
    calls: () =>
      existsSync(log)
        ? readFileSync(log, 'utf8')
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line) as Record<string, unknown>)
        : [],
  };
}

describe('a run of the scrub', () => {
  test('proves every copy that is due, says so in the ledger, and changes nothing in the archives', async () => {
    const vault = await makeVault(fixity({}), { second: 'vault' });
    const { store, place, scrub } = vault;
    const [a, b] = [await vault.add('a', { bytes: 600_000 }), await vault.add('b')];
    const before = [fingerprint(place.path(BUNDLES)), fingerprint(place.path('archives'))];
    const first = await scrub('--json');
    expect(first).toMatchObject({ code: 0, stderr: '' });
    expect(outcomes(first).toSorted()).toEqual([
      'a filesystem ok',
      'a vault ok',
      'b filesystem ok',
      'b vault ok',
    ]);
    expect(reportOf(first)).toMatchObject({ bytes: 2 * (a.size + b.size), left: 0, away: 0, adopted: 0 });
    const [line] = await store.catalog.proofs({ dataset_id: a.id, limit: 1 });
    expect(line).toMatchObject({ level: 'stream', result: 'ok', bytes: a.size, actor: 'scrub' });
    for (const { id } of [a, b])
      for (const copy of await store.catalog.copies(id)) expect(copy.verified_how).toBe('stream');
    const second = await scrub();
    expect(second.stdout).toBe('0 looked at, 0 B read\n');
    expect(await store.catalog.proofs({ limit: 10 })).toHaveLength(4);
    expect([fingerprint(place.path(BUNDLES)), fingerprint(place.path('archives'))]).toEqual(before);
  });

  test('keeps to its budget, and several runs reach everything', async () => {
    const vault = await makeVault(fixity(always));
    const sizes = new Map<string, number>();
    for (const name of ['a', 'b', 'c', 'd', 'e'])
      sizes.set(name, (await vault.add(name, { bytes: 50_000 })).size);
    const size = sizes.get('a') ?? 0;
    const run = async (budget: number) => {
      const done = await vault.scrub('--json', '--max-bytes', String(budget));
      expect(done.code).toBe(0);
      return outcomes(done).map((text) => text[0]);
    };
    expect(await run(2 * size + 1)).toEqual(['a', 'b']);
    expect(await run(1)).toEqual(['c']); // Larger than the whole budget: the first may always.
    expect(await run(3 * size - 1)).toEqual(['d', 'e']);
    expect(await run(2 * size)).toEqual(['a', 'b']);
    const report = reportOf(await vault.scrub('--json', '--max-bytes', '1', '--dry-run'));
    expect(report).toMatchObject({ bytes: size, left: 4, copies: [{ name: 'c', result: 'due' }] });
  });

  test('a dry run says what would be read, and writes nothing', async () => {
    const vault = await makeVault(fixity({}));
    const { size } = await vault.add('a');
    await vault.add('from before', { recorded: false });
    const done = await vault.scrub('--dry-run');
    expect(done.code).toBe(0);
    expect(done.stdout).toMatch(/a +filesystem .* never +stream +due/);
    expect(done.stdout).toMatch(
      /1 would be looked at.*nothing was changed.*1 copy from before would be recorded/,
    );
    expect(reportOf(await vault.scrub('--dry-run', '--json')).bytes).toBe(size);
    expect(await vault.store.catalog.proofs({ limit: 1 })).toEqual([]);
    expect(await vault.store.catalog.withoutCopies(9)).toHaveLength(1);
  });

  test('datasets from before copies were recorded are not left out', async () => {
    const vault = await makeVault(fixity({}));
    const old = await vault.add('old', { recorded: false });
    const done = await vault.scrub('--json');
    expect(reportOf(done)).toMatchObject({ adopted: 1, copies: [{ name: 'old', result: 'ok' }] });
    expect(await vault.store.catalog.copies(old.id)).toMatchObject([
      { archive: 'filesystem', key: old.key, size: old.size, verified_how: 'stream' },
    ]);
  });

  test('two at once: the second is left out', async () => {
    const vault = await makeVault(fixity({ max_bytes_per_second: 1000 }));
    await vault.add('slow', { bytes: 600_000 });
    const running = vault.startScrub();
    await until(() => running.stderr().includes('slow in filesystem'), { what: 'the first run at work' });
    const busy = await vault.scrub();
    expect(busy.code).toBe(75);
    running.kill('SIGTERM');
    expect(busy.stdout).toBe('');
    const stopped = await running.ended;
    expect(stopped).toMatchObject({ code: 130, stderr: expect.stringContaining('E_REVOKED') });
    expect(await vault.store.catalog.proofs({ limit: 9 })).toEqual([]);
    vault.reconfigure(fixity({}));
    expect((await vault.scrub()).code).toBe(0); // A stop in good order leaves no lock.
  });

  test('killed midway, what was proven stays proven and the next run does the rest', async () => {
    const vault = await makeVault(fixity({ max_bytes_per_second: 100_000 }));
    const { store, place } = vault;
    const quick = await vault.add('quick', { bytes: 1000 });
    const slow = await vault.add('slow', { bytes: 3_000_000 });
    const before = fingerprint(place.path(BUNDLES));
    const running = vault.startScrub();
    await until(async () => (await store.catalog.proofs({ limit: 9 })).length === 1, {
      what: 'the first line',
    });
    await until(() => running.stderr().includes('slow in filesystem'), { what: 'the second copy' });
    running.kill('SIGKILL');
    await running.ended;
    expect((await store.catalog.proofs({ limit: 9 })).map(({ dataset_id }) => dataset_id)).toEqual([
      quick.id,
    ]);
    expect((await store.catalog.copies(slow.id))[0]?.verified_at).toBeNull();
    vault.reconfigure(fixity({}));
    // The lock of the dead run ends by itself.
    const next = await until(async () => {
      const done = await vault.scrub('--json');
      return done.code === 75 ? null : done;
    });
    expect(outcomes(next)).toEqual(['slow filesystem ok']);
    expect(fingerprint(place.path(BUNDLES))).toBe(before);
  });
});

describe('a finding', () => {
  test('is logged, audited and told once to the alarm command; the others are proven; nothing is touched', async () => {
    const vault = await makeVault();
    const { store, place, scrub } = vault;
    const alarm = makeAlarm(vault);
    vault.reconfigure(fixity({ alarm: alarm.command }));
    const flipped = await vault.add('flipped', { bytes: 5000 });
    const cut = await vault.add('cut', { bytes: 5000 });
    const gone = await vault.add('gone');
    await vault.add('good');
    flip(flipped.bundle(), 2048);
    truncateSync(cut.bundle(), cut.size - 2048);
    unlinkSync(gone.bundle());
    const before = fingerprint(place.path(BUNDLES));
    const done = await scrub('--json');
    expect(done.code).toBe(1);
    const found = [
      'flipped filesystem mismatch',
      'cut filesystem mismatch',
      'gone filesystem missing',
      'good filesystem ok',
    ];
    expect(outcomes(done)).toEqual(found);
    // On a busy machine a meter stands between them.
    const errors = done.stderr
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as object);
    expect(errors).toMatchObject([
      { code: 'E_FIXITY', dataset_id: flipped.id, result: 'mismatch', details: { path: flipped.bundle() } },
      { code: 'E_FIXITY', dataset_id: cut.id, result: 'mismatch' },
      { code: 'E_FIXITY', dataset_id: gone.id, result: 'missing' },
    ]);
    const told = alarm.calls();
    expect(told).toMatchObject([
      { code: 'E_FIXITY', name: 'flipped', type: 'RAW_DATA', archive: 'filesystem', key: flipped.key },
      { name: 'cut', result: 'mismatch', bytes: cut.size - 2048 },
      { name: 'gone', result: 'missing', level: 'stream', actor: 'scrub' },
    ]);
    expect(told[0]?.details).toMatchObject({
      differences: [
        { member: null, what: 'blake3' },
        { member: 'data.bin', what: 'blake3' },
      ],
    });
    for (const [at, { id }] of [flipped, cut, gone].entries()) {
      const [line] = await store.catalog.proofs({ dataset_id: id, limit: 1 });
      expect(told[at]).toMatchObject({ ...line });
      const [entry] = await store.records.auditLog({ subject: `dataset:${id}`, limit: 1 });
      expect(entry).toMatchObject({ actor: 'scrub', action: 'fixity.alarm', details: { code: 'E_FIXITY' } });
    }
    expect(fingerprint(place.path(BUNDLES))).toBe(before);
    // It is open, and known; the next run has others to look at.
    expect(await scrub('--json')).toMatchObject({ code: 0, stderr: '' });
    expect(alarm.calls()).toHaveLength(3);
    expect((await store.catalog.fixity({ failed: true })).map(({ name }) => name).toSorted()).toEqual([
      'cut',
      'flipped',
      'gone',
    ]);
  });

  test('keeps no other copy waiting: damaged ones do not stay first in line', async () => {
    const vault = await makeVault(fixity(always));
    const [bad, good] = [await vault.add('bad'), await vault.add('good')];
    flip(bad.bundle(), 2048);
    const runs = [];
    for (let run = 0; run < 4; run++) runs.push(...outcomes(await vault.scrub('--json', '--max-bytes', '1')));
    expect(runs).toEqual([
      'bad filesystem mismatch',
      'good filesystem ok',
      'bad filesystem mismatch',
      'good filesystem ok',
    ]);
    expect((await vault.store.catalog.copies(good.id))[0]?.verified_how).toBe('stream');
  });

  test('is mailed to whom the configuration names, and a mail that fails stops nothing', async () => {
    const vault = await makeVault();
    const bad = await vault.add('bad');
    flip(bad.bundle(), 3000);
    const stub = join(import.meta.dirname, '../fixtures/bin/sendmail');
    const email = { alarm_to: ['ops@example.org', 'archive@example.org'], sendmail_path: stub };
    vault.reconfigure({ ...fixity(always), email });
    const scrub = (env: Record<string, string>) =>
      runScript('scrub.ts', ['--json'], { ...vault.env(), STUB_MAIL: vault.place.path('mail'), ...env });
    expect(outcomes(await scrub({}))).toEqual(['bad filesystem mismatch']);
    const args = readFileSync(vault.place.path('mail.args'), 'utf8').trim().split('\n');
    expect(args.slice(-2)).toEqual(email.alarm_to);
    const message = readFileSync(vault.place.path('mail.message'), 'utf8');
    expect(message).toContain('Subject: [longshore-test] archived copy of bad in filesystem: mismatch');
    const text = Buffer.from(message.split('\n\n')[1] ?? '', 'base64').toString();
    expect(text).toContain(`longshore fixity ${bad.id}`);
    expect(text).toContain('"result": "mismatch"');
    // Told once, until it has proved good in between.
    const [told] = await vault.store.catalog.proofs({ dataset_id: bad.id, limit: 1 });
    await vault.store.catalog.addProof({ ...(told as Proof), result: 'ok', at: new Date().toISOString() });
    const failed = await scrub({ STUB_MAIL_FAIL: 'no route' });
    expect(outcomes(failed)).toEqual(['bad filesystem mismatch']);
    expect(failed.stderr).toContain('the mail about a finding was not sent');
  });

  test('an alarm command that fails, or is not there, is logged and stops nothing', async () => {
    const vault = await makeVault();
    const alarm = makeAlarm(vault, 'echo "no such recipient" >&2; exit 3');
    for (const [name, command, reason] of [
      ['first', alarm.command, 'no such recipient'],
      ['second', ['/nowhere/alarm'], 'could not be started'],
    ] as const) {
      vault.reconfigure(fixity({ ...always, alarm: command }));
      const bad = await vault.add(`bad-${name}`);
      await vault.add(`good-${name}`);
      flip(bad.bundle(), 2048);
      const done = await vault.scrub('--json');
      expect(done.code).toBe(1);
      expect(outcomes(done)).toContain(`good-${name} filesystem ok`);
      expect(done.stderr).toContain('the alarm command failed');
      expect(done.stderr).toContain(reason);
    }
  });

  test('a copy that a workflow is storing anew just now is no finding', async () => {
    const vault = await makeVault(fixity({}));
    const { store, place } = vault;
    const busy = await vault.add('busy');
    unlinkSync(busy.bundle());
    const start = { dataset_id: busy.id, initiator: 'test' };
    await store.records.createWorkflow(buildWorkflow(place.config, 'integrated', start));
    const done = await vault.scrub('--json');
    expect(done.code).toBe(5);
    expect(reportOf(done).copies).toMatchObject([
      {
        result: 'unavailable',
        details: { code: 'E_WORKFLOW_STATE', reason: expect.stringContaining('integrated') },
      },
    ]);
    expect(await store.records.auditLog({ subject: `dataset:${busy.id}` })).not.toContainEqual(
      expect.objectContaining({ action: 'fixity.alarm' }),
    );
  });
});

test('an alarm command that hangs is ended, one that leaves something running is not waited for', async () => {
  const { place } = await makeVault();
  const script = (name: string, text: string): string => {
    writeFileSync(place.path(name), `#!/bin/sh\n${text}\n`);
    chmodSync(place.path(name), 0o755);
    return place.path(name);
  };
  const hanging = script('hanging', 'exec sleep 600');
  await expect(callAlarm([hanging], {}, 200)).rejects.toMatchObject({
    code: 'E_SUBPROCESS',
    message: expect.stringContaining('was ended by SIGKILL'),
  });
  const daemon = script('daemon', 'sleep 600 & echo $! > "$1"');
  await callAlarm([daemon, place.path('pid')], { much: 'x'.repeat(1_000_000) });
  process.kill(Number(readFileSync(place.path('pid'), 'utf8')), 'SIGKILL');
});

test('an archive that is away is no finding: recorded once, warned of, the others go on, and it comes next', async () => {
  const vault = await makeVault({}, { second: 'vault' });
  const alarm = makeAlarm(vault);
  vault.reconfigure(fixity({ alarm: alarm.command }));
  for (const name of ['a', 'b', 'c']) await vault.add(name);
  vault.unmount();
  const done = await vault.scrub('--json');
  expect(done.code).toBe(5);
  expect(outcomes(done).toSorted()).toEqual([
    'a filesystem unavailable',
    'a vault ok',
    'b vault ok',
    'c vault ok',
  ]);
  expect(reportOf(done).away).toBe(2);
  expect(done.stderr).toContain('an archived copy could not be looked at');
  expect(await vault.store.catalog.proofs({ result: 'unavailable', limit: 9 })).toHaveLength(1);
  expect(alarm.calls()).toEqual([]);
  vault.mount();
  const next = await vault.scrub('--json');
  expect(next.code).toBe(0);
  expect(outcomes(next)).toEqual(['a filesystem ok', 'b filesystem ok', 'c filesystem ok']);
});

test('an archive that left the configuration is told, and no reason to stop', async () => {
  const vault = await makeVault({}, { second: 'vault' });
  const { id } = await vault.add('a');
  await vault.store.catalog.putCopy(id, {
    archive: 'retired',
    key: '/x',
    size: 1,
    digests: {},
    stored_at: '2020-01-01T00:00:00.000Z',
  });
  vault.reconfigure(fixity({}));
  const done = await vault.scrub('--json');
  expect(done.code).toBe(5);
  expect(outcomes(done)).toEqual(['a retired unavailable', 'a filesystem ok', 'a vault ok']);
});

describe('the rotation', () => {
  const archive = (name: string, capabilities: Partial<Archive['capabilities']> = {}): Archive =>
    ({
      name,
      capabilities: { stream: true, range: true, resume: true, digest: null, ...capabilities },
    }) as Archive;

  test('a copy is due when it was never looked at, or not for so many days', () => {
    const now = Date.parse('2026-04-01T00:00:00.000Z');
    const looks = [null, '2026-01-01T00:00:00.000Z', '2026-03-01T23:59:59.999Z', '2026-03-02T00:00:00.001Z'];
    const due = dueOf(
      looks.map((looked_at) => ({ looked_at })),
      30,
      now,
    );
    expect(due.map(({ looked_at }) => looked_at)).toEqual(looks.slice(0, 3));
    expect(dueOf([], 30, now)).toEqual([]);
  });

  test('the level is that of the archive, else of its kind, else tape is not read', async () => {
    const { place } = await makeVault({}, { second: 'vault' });
    const { fixity: own } = place.config;
    const config = {
      ...place.config,
      fixity: { ...own, levels: { ...own.levels, vault: 'digest' as const } },
    };
    expect(levelOf(config, archive('filesystem'))).toBe('stream');
    expect(levelOf(config, archive('vault'))).toBe('digest');
    expect(levelOf(config, archive('unnamed', { range: false }))).toBe('digest');
    const tape = { ...config, archive: { ...config.archive, backends: { hpss: { kind: 'sda' } } } };
    expect(levelOf(tape as unknown as typeof config, archive('hpss'))).toBe('digest');
  });

  test('a stated digest costs nothing; one that is not recorded has to be computed', () => {
    const tape = archive('hpss', { digest: 'md5' });
    expect(costOf({ size: 9, digests: { md5: 'x' } }, 'digest', tape)).toBe(0);
    expect(costOf({ size: 9, digests: { blake3: 'x' } }, 'digest', tape)).toBe(9);
    expect(costOf({ size: 9, digests: { md5: 'x' } }, 'stream', tape)).toBe(9);
    expect(costOf({ size: 9, digests: { md5: 'x' } }, 'digest', archive('disk'))).toBe(9);
  });

  test('a budget is never exceeded but by the first', () => {
    const budget = new Budget(10);
    expect(budget.allows(100)).toBe(true);
    budget.spend(0);
    expect(budget.allows(100)).toBe(true);
    budget.spend(6);
    expect([budget.allows(4), budget.allows(5), budget.allows(0)]).toEqual([true, false, true]);
    budget.spend(4);
    expect([budget.allows(1), budget.spent]).toEqual([false, 10]);
  });
});
