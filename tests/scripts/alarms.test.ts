/** Who is on duty hears of what was found by others than the scrub. */
import { chmodSync, existsSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { flip } from '../support/archived.ts';
import { runScript } from '../support/script.ts';
import { type Entry, makeVault, type Vault } from '../support/vault.ts';

interface Call {
  readonly name: string;
  readonly actor: string;
  readonly result: string;
}

async function onDuty() {
  const vault = await makeVault();
  const [program, log] = [vault.place.path('alarm.sh'), vault.place.path('alarms')];
  writeFileSync(program, '#!/bin/sh\ncat >> "$1"\n');
  chmodSync(program, 0o755);
  vault.reconfigure({ fixity: { alarm: [program, log] } });
  const calls = (): string[] =>
    (existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : []).map((line) => {
      const { name, actor, result } = JSON.parse(line) as Call;
      return `${name} ${result} by ${actor}`;
    });
  const raise = (...args: string[]) => runScript('raise_alarms.ts', args, vault.env());
  return { ...vault, calls, raise, program };
}

/** As a staging leaves it. */
const found = (
  { store }: Vault,
  { id, key }: Entry,
  result: 'ok' | 'mismatch',
  archive: string = 'filesystem',
) =>
  store.catalog.addProof({
    dataset_id: id,
    archive,
    key,
    at: new Date().toISOString(),
    level: 'stream',
    result,
    bytes: 1,
    seconds: 0,
    actor: 'stage',
    details: { code: 'E_BUNDLE_CORRUPT', reason: 'other bytes' },
  });

test('what a staging found is told once, and again only when it had proved good in between', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  await duty.add('good');
  for (let tries = 0; tries < 3; tries += 1) await found(duty, entry, 'mismatch');
  const planned = await duty.raise('--dry-run', '--json');
  expect(JSON.parse(planned.stdout)).toMatchObject({ dry_run: true, raised: [{ name: 'bad' }] });
  expect(duty.calls()).toEqual([]);
  const told = await duty.raise();
  expect(told).toMatchObject({ code: 0, stderr: '' });
  expect(told.stdout).toContain(`told of ${entry.id} bad in filesystem: mismatch`);
  expect((await duty.raise()).stdout).toBe('0 findings told of\n');
  expect(duty.calls()).toEqual(['bad mismatch by stage']);
  await found(duty, entry, 'ok');
  await found(duty, entry, 'mismatch');
  await duty.raise();
  expect(duty.calls()).toHaveLength(2);
});

test('another copy of the same dataset is told of by itself', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  await found(duty, entry, 'mismatch');
  await duty.raise();
  const digests = { blake3: 'f'.repeat(64) };
  const stored_at = new Date().toISOString();
  await duty.store.catalog.putCopy(entry.id, {
    archive: 'mirror',
    key: entry.key,
    size: 1,
    digests,
    stored_at,
  });
  await found(duty, entry, 'mismatch', 'mirror');
  expect((await duty.raise()).stdout).toContain(`told of ${entry.id} bad in mirror: mismatch`);
  expect(duty.calls()).toHaveLength(2);
});

test('what was put right before anybody was told is told all the same, once, and that it holds again', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  await found(duty, entry, 'ok');
  await found(duty, entry, 'mismatch');
  await found(duty, entry, 'ok');
  const told = await duty.raise();
  expect(told.stdout).toMatch(/^told of \d+ bad in filesystem: mismatch .*; a proof held at 20/);
  expect((await duty.raise()).stdout).toBe('0 findings told of\n');
  expect(duty.calls()).toEqual(['bad mismatch by stage']);
  const [line] = readFileSync(duty.place.path('alarms'), 'utf8').split('\n');
  expect(JSON.parse(line ?? '')).toMatchObject({
    closed_at: expect.stringMatching(/^20/),
    hint: expect.stringContaining('A proof held at'),
  });
});

test('what was found of a bundle that lay elsewhere before says nothing of the one that is there', async () => {
  const duty = await onDuty();
  const entry = await duty.add('good');
  await found(duty, { ...entry, key: '/former/good.tar' }, 'mismatch');
  expect((await duty.raise()).stdout).toBe('0 findings told of\n');
});

test('what was told of while it was open is not told again when it holds', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  await found(duty, entry, 'mismatch');
  await duty.raise();
  await found(duty, entry, 'ok');
  expect((await duty.raise()).stdout).toBe('0 findings told of\n');
});

test('what longshore verify finds is told at once, and stands with the dataset', async () => {
  const duty = await onDuty();
  const entry = await duty.add('gone');
  unlinkSync(entry.bundle());
  expect((await duty.longshore('verify', 'gone')).code).toBe(1);
  expect(duty.calls()).toMatchObject([expect.stringMatching(/^gone missing by /)]);
  const { stdout } = await duty.longshore('show', 'gone');
  expect(stdout).toMatch(/DAMAGED +in filesystem: missing, found .* by /);
  expect(stdout).toContain(`longshore fixity ${entry.id}`);
});

test('a scrub that was killed before it told has its findings told by the next one', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  flip(entry.bundle(), 2048);
  await found(duty, entry, 'mismatch'); // In the ledger, and looked at: not due again for months.
  expect((await duty.scrub('--json')).code).toBe(0);
  expect(duty.calls()).toEqual(['bad mismatch by stage']);
});

test('what was told of is not told again by a scrub that finds the same', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  flip(entry.bundle(), 2048);
  await found(duty, entry, 'mismatch');
  await duty.raise();
  const fixity = { ...duty.place.config.fixity, alarm: [duty.program, duty.place.path('alarms')] };
  duty.reconfigure({ fixity: { ...fixity, prove_every_days: 1e-9 } });
  for (let run = 0; run < 2; run += 1) expect((await duty.scrub('--json')).code).toBe(1);
  expect(duty.calls()).toEqual(['bad mismatch by stage']);
});

test('an alarm that reached nobody is not taken for told', async () => {
  const duty = await onDuty();
  const entry = await duty.add('bad');
  await found(duty, entry, 'mismatch');
  writeFileSync(duty.program, '#!/bin/sh\nexit 1\n');
  expect((await duty.raise()).stderr).toContain('the alarm command failed');
  const [try_] = await duty.store.records.auditLog({ subject: `dataset:${entry.id}`, limit: 1 });
  expect(try_).toMatchObject({ action: 'fixity.alarm', details: { told: false } });
});
