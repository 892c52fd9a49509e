import { expect, onTestFinished, test } from 'vitest';
import type { Companion, ToldDataset } from '../../workers/catalog/mirror.ts';
import type { Records } from '../../workers/records/contract.ts';
import { makeWorkflow } from '../records/fixture.ts';

export interface Company {
  readonly companion: Companion;
  readonly records: Records;
  close(): Promise<void>;
}

/** As the API tells of a dataset that was just registered. */
const toldOf = (id: number, given: Partial<ToldDataset> = {}): ToldDataset => ({
  id,
  name: 'set',
  type: 'RAW_DATA',
  origin_path: '/origin/set',
  archive_path: null,
  staged_path: null,
  is_deleted: false,
  is_staged: false,
  du_size: null,
  size: null,
  num_files: null,
  num_directories: null,
  metadata: {},
  description: null,
  create_method: 'TEST',
  created_at: '2026-01-01T00:00:00.000Z',
  updated_at: '2026-01-02T00:00:00.000Z',
  ...given,
});

const stateOf = (state: 'REGISTERED' | 'READY' | 'STAGED', day: number) => ({
  state,
  timestamp: `2026-01-0${day}T00:00:00.000Z`,
  metadata: { day },
});

/** What every companion keeps of what an API says, and what it keeps beside it. */
export function mirrorBattery(open: () => Promise<Company>): void {
  const begin = async () => {
    const company = await open();
    onTestFinished(() => company.close());
    return { ...company.companion, records: company.records };
  };

  test('who arrives comes with the workflow, the project and the entry in the audit trail', async () => {
    const { mirror, catalog, records } = await begin();
    const workflow = makeWorkflow();
    expect([await mirror.has(7), await mirror.idOf('set', 'RAW_DATA')]).toEqual([false, null]);
    await mirror.adopt(toldOf(7), { actor: 'ana', project_id: 'p', workflow });
    expect([await mirror.has(7), await mirror.idOf('set', 'RAW_DATA')]).toEqual([true, 7]);
    expect([await mirror.idOf('SET', 'RAW_DATA'), await mirror.idOf('set', 'OTHER')]).toEqual([null, null]);
    // Nobody has looked at the dataset since.
    expect(await records.workflow(workflow.id)).toMatchObject({ dataset_id: 7 });
    expect(await records.auditLog({ subject: 'dataset:7' })).toMatchObject([
      { actor: 'ana', action: 'dataset.register', details: { name: 'set', workflow_id: workflow.id } },
    ]);
    await mirror.adopt(toldOf(7, { description: 'told again' }));
    expect((await mirror.extras([7, 8])).get(7)).toEqual({ project_id: 'p', bundle: null });
    expect(await catalog.get(7)).toMatchObject({ name: 'set', description: 'told again', project_id: 'p' });
    expect(await records.auditLog({ subject: 'dataset:7' })).toHaveLength(1);
  });

  test('what is not told stays, what is told takes its place', async () => {
    const { mirror, catalog } = await begin();
    const told = [stateOf('STAGED', 3), stateOf('READY', 2), stateOf('REGISTERED', 1)];
    await mirror.adopt(toldOf(7, { states: told, is_staged: true, du_size: 2n ** 60n }));
    await catalog.putReport(7, { report_id: 'r', path: '/r' });
    await mirror.adopt(toldOf(7, { name: 'renamed', metadata: { stage_alias: 'ff' }, is_staged: true }));
    const { states, ...dataset } = await catalog.get(7, { states: true });
    expect(dataset).toMatchObject({ name: 'renamed', metadata: { stage_alias: 'ff' }, du_size: null });
    expect(states).toEqual(told);
    expect(await catalog.report(7)).toEqual({ report_id: 'r', path: '/r' });
    expect((await catalog.list({ days_since_last_staged: 1 })).count).toBe(1);
    await mirror.adopt(toldOf(7, { states: told.slice(2) }));
    expect((await catalog.get(7, { states: true })).states).toEqual(told.slice(2));
  });

  test('digests and proof of a bundle are of these very bytes', async () => {
    const { mirror, catalog } = await begin();
    const bundleOf = async () => (await catalog.get(7, { bundle: true })).bundle;
    const [md5, digests] = ['ab'.repeat(16), { md5: 'ab'.repeat(16), blake3: 'cd' }];
    const verified_at = '2026-01-03T00:00:00.000Z';
    const bundle = { name: 'set.tar', size: 5, md5, digests, verified_at };
    await mirror.adopt(toldOf(7));
    await catalog.patch(7, { bundle });
    await mirror.adopt(toldOf(7));
    expect(await bundleOf()).toEqual(bundle);
    await mirror.adopt(toldOf(7, { bundle: { name: 'renamed.tar', size: 5, md5 } }));
    expect(await bundleOf()).toEqual({ ...bundle, name: 'renamed.tar' });
    expect((await mirror.extras([7])).get(7)?.bundle).toEqual({ ...bundle, name: 'renamed.tar' });
    for (const other of [
      { size: 6, md5 },
      { size: 5, md5: 'ef'.repeat(16) },
    ]) {
      await catalog.patch(7, { bundle });
      await mirror.adopt(toldOf(7, { bundle: { name: 'set.tar', ...other } }));
      const fresh = { name: 'set.tar', ...other, digests: { md5: other.md5 }, verified_at: null };
      expect(await bundleOf()).toEqual(fresh);
    }
  });

  test('of two that have had one name the API says which has it now', async () => {
    const { mirror, catalog, records } = await begin();
    await mirror.adopt(toldOf(7));
    await mirror.adopt(toldOf(8), { actor: 'ana', project_id: null, workflow: makeWorkflow() });
    expect(await mirror.idOf('set', 'RAW_DATA')).toBe(8);
    expect([(await catalog.get(7)).is_deleted, (await catalog.get(8)).is_deleted]).toEqual([true, false]);
    expect((await records.listWorkflows({ dataset_id: 8 })).total).toBe(1);
    // It was renamed.
    await mirror.adopt(toldOf(7, { name: 'other' }));
    expect([await mirror.idOf('set', 'RAW_DATA'), await mirror.idOf('other', 'RAW_DATA')]).toEqual([8, 7]);
    // One that is deleted has no claim to it.
    await mirror.adopt(toldOf(9, { is_deleted: true }));
    expect(await mirror.idOf('set', 'RAW_DATA')).toBe(8);
  });

  test('that rows of files are a part is kept until it is taken back', async () => {
    const { mirror } = await begin();
    await mirror.adopt(toldOf(7));
    for (const partial of [true, true, false, false]) {
      await mirror.setFilesPartial(7, partial);
      expect(await mirror.hasPartialFiles(7)).toBe(partial);
    }
    await mirror.setFilesPartial(7, true);
    await mirror.adopt(toldOf(7));
    expect([await mirror.hasPartialFiles(7), await mirror.hasPartialFiles(8)]).toEqual([true, false]);
  });
}
