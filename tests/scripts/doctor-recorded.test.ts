/** A configuration that names no more what is recorded: the doctor says what needs it. */
import { renameSync, symlinkSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { doctor, overrides } from '../support/doctor.ts';
import { describeMongodb, inOwnDatabase } from '../support/mongodb.ts';
import { type Landing, makeLanding } from '../tasks/landing.ts';

const IDS = ['types', 'archives', 'bundles', 'staged', 'queues', 'tasks'].map((name) => `recorded.${name}`);

function battery(store: () => Record<string, unknown>): void {
  async function landed(config: Record<string, unknown> = {}): Promise<Landing> {
    const landing = await makeLanding({ 'a.txt': 'alpha' }, { config: { ...store(), ...config } });
    await landing.upTo('validate_dataset');
    return landing;
  }

  const examine = (landing: Landing, changed: Record<string, unknown> = {}) =>
    doctor(landing.place, ['--only', 'recorded'], overrides(landing.place, changed));

  test('what is recorded under the configuration of now is in order', async () => {
    const { code, findings } = await examine(await landed());
    expect(findings.map(({ id, level }) => [id, level])).toEqual(IDS.map((id) => [id, 'ok']));
    expect(code).toBe(0);
  });

  test('an archive that was renamed, and a dataset type that was left out, are named with what needs them', async () => {
    const archive = { copies: ['old'], backends: { old: { kind: 'filesystem' } } };
    const type = { dataset_types: ['RAW_DATA', 'DATA_PRODUCT', 'SCAN'] };
    const folders = (place: Landing['place']) => ({
      paths: { SCAN: { ...place.config.paths.RAW_DATA } },
      registration: { SCAN: { source_dir: place.path('data/source/scan'), rejects: [] } },
    });
    const landing = await landed({ archive });
    const item = { name: 'x', type: 'SCAN', origin_path: '/x', create_method: 'TEST' as const };
    await landing.store.catalog.register([{ dataset: item }], 'test');
    const before = await examine(landing, { archive, ...type, ...folders(landing.place) });
    expect(before.code).toBe(0);
    const { code, of } = await examine(landing, { archive: {} });
    expect(code).toBe(1);
    expect(of('recorded.archives')).toMatchObject({
      level: 'problem',
      seen: expect.stringContaining('old (1)'),
    });
    expect(of('recorded.types')).toMatchObject({
      level: 'problem',
      seen: expect.stringContaining('SCAN (1)'),
    });
  });

  /** Moves all folders; gives the configuration of where they are now. */
  function move(data: string) {
    renameSync(data, `${data}.moved`);
    const folders = (name: string) => ({
      archive: `${data}.moved/archive/{year}/${name}`,
      stage: `${data}.moved/staged/${name}`,
    });
    return { paths: { RAW_DATA: folders('raw_data'), DATA_PRODUCT: folders('data_products') } };
  }

  test('of a dataset that is deleted, and of workflows that are over, nothing is told', async () => {
    const landing = await landed({
      archive: { copies: ['old'], backends: { old: { kind: 'filesystem' } } },
    });
    const { catalog, records } = landing.store;
    const steps = [{ name: 'one', task: 'former_task', queue: 'former.q' }];
    const start = { dataset_id: landing.id, initiator: 'test' };
    const over = buildWorkflow(landing.place.config, { name: 'old', steps }, start);
    await catalog.attachWorkflow(landing.id, over);
    await records.pause(over.id, { actor: 'test', take_out: true });
    const elsewhere = { ...landing.place.config, app_id: 'zz' }; // Its own installation looks after it.
    await records.createWorkflow(buildWorkflow(elsewhere, { name: 'old', steps }, start));
    await catalog.patch(landing.id, { is_deleted: true });
    const changed = { ...move(landing.place.path('data')), archive: {} };
    const { findings } = await examine(landing, changed);
    expect(findings.map(({ id, level }) => [id, level])).toEqual(IDS.map((id) => [id, 'ok']));
  });

  test('folders that were moved are told until a link stands in their place', async () => {
    // A mirror has a root of its own, wherever the folders of the types are.
    const archive = {
      copies: ['filesystem', 'mirror'],
      backends: { mirror: { kind: 'filesystem', root: '{home}/mirror' } },
    };
    const landing = await landed({ archive });
    const data = landing.place.path('data');
    const changed = { ...move(data), archive };
    const { of } = await examine(landing, changed);
    expect(of('recorded.bundles')).toMatchObject({ level: 'problem', seen: expect.stringContaining('(1)') });
    expect(of('recorded.staged')).toMatchObject({
      level: 'warning',
      seen: expect.stringContaining('RAW_DATA (1)'),
    });
    symlinkSync(`${data}.moved`, data);
    const linked = await examine(landing, changed);
    expect(linked.findings.map(({ level }) => level)).toEqual(IDS.map(() => 'ok'));
  });

  test('a queue and a task that workflows under way still need are told', async () => {
    const landing = await landed();
    const steps = [
      { name: 'one', task: 'inspect_dataset', queue: 'former.q' },
      { name: 'two', task: 'former_task' },
    ];
    const { config } = landing.place;
    const start = { dataset_id: landing.id, initiator: 'test' };
    await landing.store.catalog.attachWorkflow(
      landing.id,
      buildWorkflow(config, { name: 'old', steps }, start),
    );
    const { of } = await examine(landing);
    expect(of('recorded.queues')).toMatchObject({
      level: 'problem',
      seen: expect.stringContaining('former.q (1)'),
    });
    expect(of('recorded.tasks')).toMatchObject({
      level: 'problem',
      seen: expect.stringContaining('former_task (1)'),
    });
    const workers = { worker: { queues: ['{app_id}.q', 'former.q'] } };
    expect((await examine(landing, { workers })).of('recorded.queues')?.level).toBe('ok');
  });
}

describe('in SQLite', () => battery(() => ({})));
describeMongodb('in MongoDB', () => battery(inOwnDatabase));
