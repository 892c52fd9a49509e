/** An archive that will not come back: its recorded copies are forgotten, and no dataset loses its last one unasked. */
import { truncateSync, unlinkSync } from 'node:fs';
import { userInfo } from 'node:os';
import { expect, test } from 'vitest';
import { makeVault } from '../support/vault.ts';

/** Two datasets with a copy in each of two archives; of the first one both are proven. */
async function twoArchives() {
  const vault = await makeVault({}, { second: 'vault' });
  const [proven, unproven] = [await vault.add('run_A'), await vault.add('run_B')];
  expect((await vault.longshore('verify', 'run_A')).code).toBe(0);
  const archivesOf = async (id: number): Promise<string[]> =>
    (await vault.store.catalog.copies(id)).map(({ archive }) => archive);
  const dropVault = (): void => vault.reconfigure({ archive: { copies: ['filesystem'] } });
  return { vault, proven, unproven, archivesOf, dropVault };
}

test('copies in an archive that the configuration dropped are forgotten where another one is proven, the others are named', async () => {
  const { vault, proven, unproven, archivesOf, dropVault } = await twoArchives();
  dropVault();
  expect((await vault.longshore('verify', 'run_A')).code).toBe(5);
  expect(await vault.longshore('delete', 'run_A', '--dry-run')).toMatchObject({
    code: 78,
    stderr: expect.stringContaining('npx longshore write-off vault'),
  });
  const unnamed = '2 in archives that archive.backends does not name';
  expect((await vault.longshore('fixity')).stdout).toContain(unnamed);
  const planned = await vault.longshore('write-off', 'vault', '--dry-run');
  expect(planned).toMatchObject({
    code: 4,
    stdout: expect.stringMatching(
      /^dataset 1 run_A: the copy in vault .*would be written off .*in filesystem\n$/,
    ),
    stderr: expect.stringContaining(
      'E_NOT_ARCHIVED: the copy of dataset 2 (run_B) in "vault" may be its last',
    ),
  });
  expect(await archivesOf(proven.id)).toEqual(['filesystem', 'vault']);

  expect((await vault.longshore('write-off', 'vault')).code).toBe(4);
  expect(await archivesOf(proven.id)).toEqual(['filesystem']);
  expect(await archivesOf(unproven.id)).toEqual(['filesystem', 'vault']);
  expect((await vault.longshore('verify', 'run_A')).code).toBe(0);
  const [, told] = await vault.store.records.auditLog({ subject: `dataset:${proven.id}`, limit: 2 });
  expect(told).toMatchObject({
    actor: userInfo().username,
    action: 'copy.write_off',
    details: { archive: 'vault', key: proven.key, kept: 'filesystem' },
  });

  expect((await vault.longshore('verify', 'run_B', '--archive', 'filesystem')).code).toBe(0);
  expect((await vault.longshore('write-off', 'vault')).code).toBe(0);
  expect(await archivesOf(unproven.id)).toEqual(['filesystem']);
  expect((await vault.longshore('fixity')).stdout).not.toContain('does not name');
  const ledger = await vault.store.catalog.proofs({ dataset_id: proven.id, limit: 10 });
  expect(ledger.map(({ archive }) => archive)).toContain('vault');
  expect(await vault.longshore('write-off', 'vault')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('there is no archive "vault"'),
  });
});

test('the last copy goes only when it is said, and its dataset counts as not archived then', async () => {
  const { vault, proven, archivesOf, dropVault } = await twoArchives();
  await vault.store.catalog.removeCopy(proven.id, 'filesystem');
  const { bundle } = await vault.store.catalog.get(proven.id, { bundle: true });
  if (bundle == null) throw new Error('no bundle');
  const verified_at = new Date().toISOString();
  await vault.store.catalog.patch(proven.id, { bundle: { ...bundle, verified_at } });
  dropVault();
  const refused = await vault.longshore('write-off', 'vault', 'run_A', '--json');
  expect(refused.code).toBe(4);
  expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'E_NOT_ARCHIVED' } });
  const done = await vault.longshore('write-off', 'vault', 'run_A', '--force', '--json');
  expect(JSON.parse(done.stdout)).toMatchObject({ dataset_id: proven.id, archive: 'vault', kept: null });
  expect(await archivesOf(proven.id)).toEqual([]);
  const written = await vault.store.catalog.get(proven.id, { bundle: true });
  expect(written).toMatchObject({ archive_path: null, bundle: { verified_at: null } });
  const shown = await vault.longshore('show', 'run_A');
  expect(shown.stdout).toMatch(/^bundle .*not yet read back/m);
  // Nor is it taken for one from before copies were recorded. (5: run_B still has a copy that cannot be looked at.)
  expect((await vault.scrub('--json')).code).toBe(5);
  expect(await archivesOf(proven.id)).toEqual([]);
});

test('a copy that is there is not written off, and none where the other one is away, damaged or missing', async () => {
  const { vault, proven, archivesOf } = await twoArchives();
  expect(await vault.longshore('write-off', 'vault', 'run_A')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`is not lost: ${proven.key} is there`),
  });
  unlinkSync(proven.bundle('vault'));
  vault.unmount();
  expect((await vault.longshore('write-off', 'vault', 'run_A')).code).toBe(4);
  vault.mount();
  const prove = (result: 'ok' | 'mismatch'): Promise<void> =>
    vault.store.catalog.addProof({
      dataset_id: proven.id,
      archive: 'filesystem',
      key: proven.key,
      at: new Date().toISOString(),
      level: 'stream',
      result,
      bytes: 1,
      seconds: 0,
      actor: 'scrub',
      details: {},
    });
  await prove('mismatch');
  expect((await vault.longshore('write-off', 'vault', 'run_A')).code).toBe(4);
  await prove('ok');
  truncateSync(proven.bundle(), 100);
  expect((await vault.longshore('write-off', 'vault', 'run_A')).code).toBe(4);
  unlinkSync(proven.bundle());
  expect((await vault.longshore('write-off', 'vault', 'run_A')).code).toBe(4);
  expect(await archivesOf(proven.id)).toEqual(['filesystem', 'vault']);
});
