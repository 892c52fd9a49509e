import { chmodSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { callAlarm } from '../../scripts/fixity/alarm.ts';
import type { Proof } from '../../workers/dataset/types.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { flip } from '../support/archived.ts';
import { runScript } from '../support/script.ts';
import { BUNDLES, makeVault } from '../support/vault.ts';
import { fingerprint } from '../tasks/landing.ts';
import { always, fixity, makeAlarm, NOTHING_BUT_PROGRESS, outcomes, reportOf } from './scrub.ts';

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
    expect(await scrub('--json')).toMatchObject({ code: 0, stderr: NOTHING_BUT_PROGRESS });
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
