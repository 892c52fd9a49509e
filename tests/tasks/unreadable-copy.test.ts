/** A copy on a disk that cannot read some of its sectors, while everything else of the archive is there. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { copiesOf } from '../../workers/archive/copies.ts';
import { manifestKey } from '../../workers/archive/contract.ts';
import { proveCopy } from '../../workers/archive/proof.ts';
import { openFinding } from '../../workers/dataset/types.ts';
import { badDisk } from '../support/bad-disk.ts';
import { fingerprint, makeLanding } from './landing.ts';

const config = {
  archive: {
    types: { RAW_DATA: ['disk', 'mirror'] },
    backends: {
      disk: { kind: 'filesystem', root: '{home}/disk' },
      mirror: { kind: 'filesystem', root: '{home}/mirror' },
    },
  },
};

test.for(['bundle', 'manifest'])(
  'of two copies the one that can be read is staged; one with an unreadable %s is a finding, and keeps the origin',
  async (what, context) => {
    const landing = await makeLanding({ 'a.txt': 'alpha', 'b.bin': Buffer.alloc(5_000_000, 7) }, { config });
    const disk = badDisk(landing.place, 'disk');
    if (disk === null) return context.skip('a file system in a file cannot be mounted here');
    const { catalog } = landing.store;
    await landing.upTo('archive_dataset');
    const bundle = join(disk.folder, (await landing.dataset()).archive_path as string);
    const lost = what === 'bundle' ? bundle : manifestKey(bundle);
    disk.loseEndOf(lost);
    expect(spawnSync('tail', ['-c', '100', lost], { encoding: 'latin1' }).stderr).toMatch(/error/);
    await landing.run('stage_dataset');
    await landing.run('validate_dataset');
    const { staged_path } = await landing.dataset();
    expect(fingerprint(staged_path as string)).toBe(fingerprint(landing.origin));
    const ledger = await catalog.proofs({ dataset_id: landing.id, limit: 2 });
    expect(ledger).toMatchObject([
      { archive: 'mirror', result: 'ok', actor: 'stage' },
      { archive: 'disk', result: 'mismatch', actor: 'stage', details: { code: 'E_IO' } },
    ]);
    expect((await landing.fails('delete_source')).message).toContain('was found not what was archived');
    expect(existsSync(landing.origin)).toBe(true);
    // A scrub would find the same.
    const [copy] = copiesOf(
      landing.place.config,
      await landing.dataset(),
      await catalog.copies(landing.id),
    ).filter(({ archive }) => archive.name === 'disk');
    if (copy?.recorded == null) throw new Error('no copy is recorded');
    expect(openFinding(copy.recorded)).not.toBeNull();
    const proof = { dataset_id: landing.id, archive: copy.archive, copy: copy.recorded, actor: 'scrub' };
    const scratch = landing.place.path('scratch');
    expect(await proveCopy({ ...proof, level: 'stream', scratch })).toMatchObject({
      result: 'mismatch',
      details: { code: 'E_IO', reason: expect.stringContaining(lost) },
    });
  },
);
