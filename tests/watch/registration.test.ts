import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { registrationOf } from '../../config/index.ts';
import { refusalsOf } from '../../workers/watch/refusals.ts';
import { datasetNameOf } from '../../workers/watch/registration.ts';
import { createScanners, scanOnce } from '../../workers/watch/watch.ts';
import { makePlace } from '../support/place.ts';
import { listen, setUp, signal } from './registration.ts';

describe('registering what a scan finds', () => {
  test('a folder becomes a dataset of the type of its source, with one workflow of the configured steps', async () => {
    const { place, raw, product, store, enqueued, scan } = await setUp();
    mkdirSync(join(raw, 'run_1'));
    mkdirSync(join(product, 'atlas'));
    await scan();
    const { datasets } = await store.catalog.list({});
    expect(
      datasets.map(({ name, type, create_method }) => `${type} ${name} ${create_method}`).sort(),
    ).toEqual(['DATA_PRODUCT atlas SCAN', 'RAW_DATA run_1 SCAN']);
    for (const { id, origin_path, name, type } of datasets) {
      expect(origin_path).toBe(realpathSync(join(type === 'RAW_DATA' ? raw : product, name)));
      expect((await store.catalog.states(id)).map(({ state }) => state)).toEqual(['REGISTERED']);
      const { results } = await store.records.listWorkflows({ dataset_id: id });
      expect(results.map(({ workflow }) => [workflow.name, workflow.args, workflow.initiator])).toEqual([
        ['integrated', [id], 'watch'],
      ]);
      const steps = results[0]?.workflow.steps.map(({ name, task }) => ({ name, task }));
      expect(steps).toEqual(
        place.config.workflow_registry.integrated?.steps.map(({ name, task }) => ({ name, task })),
      );
      expect(enqueued).toContain(results[0]?.workflow.id);
    }
  });

  test('a second watch registers nothing again, also when it remembers nothing', async () => {
    const { make, scan, store, raw, enqueued, datasets } = await setUp();
    make('a', 'b');
    await scan();
    await scan();
    await store.records.watch.apply(raw, { remove: ['a', 'b'] });
    await scan();
    expect(await datasets()).toHaveLength(2);
    expect((await store.records.listWorkflows({})).total).toBe(2);
    expect(enqueued).toHaveLength(2);
  });

  test('250 folders are three calls to the catalog', async () => {
    const { make, scan, calls, datasets } = await setUp();
    make(...Array.from({ length: 250 }, (_, at) => `folder-${at}`));
    await scan();
    expect(calls).toEqual([100, 100, 50]);
    expect(await datasets()).toHaveLength(250);
  });

  test('rejected folders are never registered, not by a full scan either', async () => {
    const { make, scan, datasets } = await setUp({
      registration: { full_scan_every_n_scans: 2, RAW_DATA: { rejects: ['.snapshots', 'tmp_*'] } },
    });
    make('.snapshots', 'tmp_1', 'TMP_1', 'kept');
    for (let round = 0; round < 4; round += 1) await scan();
    expect((await datasets()).map(({ name }) => name).sort()).toEqual(['TMP_1', 'kept']);
  });

  test('several sources of one type are all watched', async () => {
    const place = await makePlace();
    const [one, two] = [place.dir('one'), place.dir('two')];
    const { parts, datasets } = await setUp({ registration: { RAW_DATA: { source_dir: [one, two] } } });
    mkdirSync(join(one, 'a'));
    mkdirSync(join(two, 'b'));
    await scanOnce(parts, signal);
    expect((await datasets()).map(({ origin_path }) => origin_path)).toEqual([
      join(one, 'a'),
      join(two, 'b'),
    ]);
  });

  test('the real path is recorded for a link, and odd names keep their path under a plain name', async () => {
    const { place, raw, make, scan, datasets } = await setUp();
    make('two words\nand a line', '-rf');
    symlinkSync(place.dir('elsewhere/target'), join(raw, 'link'));
    await scan();
    const found = new Map((await datasets()).map(({ name, origin_path }) => [name, origin_path]));
    expect(found).toEqual(
      new Map([
        ['two-words-and-a-line', join(raw, 'two words\nand a line')],
        ['-rf', join(raw, '-rf')],
        ['link', place.path('elsewhere/target')],
      ]),
    );
  });

  test('a folder whose name is no UTF-8 is refused by name, once, and one that only looks like it is taken', async () => {
    const { raw, scan, parts, datasets, place } = await setUp();
    mkdirSync(Buffer.concat([Buffer.from(`${raw}/caf`), Buffer.from([0xe9])]));
    writeFileSync(Buffer.concat([Buffer.from(`${raw}/fil`), Buffer.from([0xe9])]), '');
    mkdirSync(join(raw, 'really \uFFFD'));
    const { told, log: teller } = listen(place.path('log'));
    const scanner = createScanners({ ...parts, log: teller })[0]?.scanner;
    expect(await scanner?.scan(signal)).toMatchObject({ added: 2, left: 0 });
    expect(await scanner?.scan(signal)).toMatchObject({ added: 0 });
    expect((await datasets()).map(({ origin_path }) => origin_path)).toEqual([join(raw, 'really \uFFFD')]);
    const refused = told().filter(({ msg }) => msg.includes('E_NAME_UNSAFE'));
    expect(refused).toMatchObject([{ folder: 'caf\uFFFD', msg: expect.stringContaining('not valid UTF-8') }]);
    await scan();
  });

  test('a link into a folder that this user may not enter is told of, once', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('needs root to become another user');
    const { place, raw } = await setUp();
    mkdirSync(place.dir('closed', 'run'), { recursive: true });
    symlinkSync(place.path('closed', 'run'), join(raw, 'run'));
    chmodSync(place.folder, 0o755);
    const script = `
      const { registerFolders } = await import(process.argv[1] + '/folders.ts');
      const { createRefusals } = await import(process.argv[1] + '/refusals.ts');
      const { createSourceReader } = await import(process.argv[1] + '/source.ts');
      process.setgroups([]); process.setgid(65534); process.setuid(65534);
      const [source, config] = [process.argv[2], JSON.parse(process.argv[3])];
      const told = [];
      const log = { error: ({ folder }, text) => told.push([folder, text]) };
      const registrar = { register: async () => [] };
      const refusals = createRefusals({ note: async () => null, setNote: async () => undefined }, '');
      const catalog = { list: async () => ({ datasets: [] }) };
      const handle = registerFolders({ config, type: 'RAW_DATA', source, catalog, registrar, refusals, log });
      for (let scan = 0; scan < 2; scan += 1) {
        const { names } = await createSourceReader(source)(() => false);
        for await (const done of handle({ event: 'add', names }, new AbortController().signal)) told.push(done);
      }
      console.log(JSON.stringify(told));
    `;
    chmodSync(place.path('closed'), 0o700);
    const watch = join(import.meta.dirname, '../../workers/watch');
    const args = [watch, raw, JSON.stringify(place.config)];
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script, ...args]);
    expect(JSON.parse(String(output))).toEqual([['run', expect.stringContaining('EACCES')], [], []]);
  });

  test('a link of one user to a folder of another is not followed, one of its owner is', async ({ skip }) => {
    if (process.getuid?.() !== 0) skip('needs root to make files of other users');
    const { raw, scan, datasets, store, place } = await setUp();
    const [own, foreign] = [place.dir('elsewhere/own'), place.dir('elsewhere/foreign')];
    chownSync(own, 4001, 4001);
    chownSync(foreign, 4002, 4002);
    for (const [name, target] of [
      ['own', own],
      ['foreign', foreign],
      ['ours', '/etc'],
    ] as const) {
      symlinkSync(target, join(raw, name));
      lchownSync(join(raw, name), 4001, 4001);
    }
    symlinkSync(foreign, join(raw, 'by-root'));
    await scan();
    expect((await datasets()).map(({ origin_path }) => origin_path).toSorted()).toEqual([foreign, own]);
    const { folders } = await refusalsOf(store.records, raw);
    expect(folders.toSorted((a, b) => a.name.localeCompare(b.name))).toMatchObject([
      { name: 'foreign', kind: 'unsafe', reason: expect.stringContaining('E_ORIGIN_FOREIGN') },
      { name: 'ours', kind: 'unsafe' },
    ]);
  });

  test('of two folders that come to one name the first is registered and the other is not', async () => {
    const { make, scan, raw, datasets, parts } = await setUp();
    make('run 1');
    await scan();
    make('run-1');
    const [first] = await scanOnce(parts, signal);
    // Done with: it is not tried again every few seconds.
    expect(first?.result).toMatchObject({ added: 1, left: 0 });
    expect((await datasets()).map(({ origin_path }) => origin_path)).toEqual([join(raw, 'run 1')]);
  });

  test('what is not registered is kept with its reason, across restarts, until it is registered or gone', async () => {
    const { make, raw, scan, store } = await setUp({
      registration: { minimum_dataset_size: 10, full_scan_every_n_scans: 1 },
    });
    make('small', 'run 1', 'run-1', 'deleted');
    for (const name of ['run 1', 'run-1', 'deleted']) writeFileSync(join(raw, name, 'file'), 'x'.repeat(10));
    mkdirSync(Buffer.concat([Buffer.from(`${raw}/caf`), Buffer.from([0xe9])]));
    await scan();
    const gone = (await store.catalog.list({ name: 'deleted' })).datasets[0];
    await store.catalog.patch(gone?.id ?? 0, { is_deleted: true, name: 'deleted-1' });
    await scan();
    const kinds = async () => {
      const { total, folders } = await refusalsOf(store.records, raw);
      expect(folders).toHaveLength(total);
      return folders.map(({ name, kind }) => `${name} ${kind}`).toSorted();
    };
    const first = await refusalsOf(store.records, raw);
    expect(await kinds()).toEqual(['caf\uFFFD unsafe', 'deleted deleted', 'run-1 taken', 'small small']);
    expect(first.folders.find(({ kind }) => kind === 'taken')?.reason).toContain('belongs to dataset');
    await scan();
    expect(await refusalsOf(store.records, raw)).toEqual(first);
    writeFileSync(join(raw, 'small', 'file'), 'x'.repeat(10));
    rmSync(join(raw, 'run-1'), { recursive: true });
    await scan();
    expect(await kinds()).toEqual(['caf\uFFFD unsafe', 'deleted deleted']);
  });

  test('what a person registered by hand, or the configuration rejects by now, is not told as missing any more', async () => {
    const { make, raw, scan, store, parts, datasets } = await setUp({
      registration: { full_scan_every_n_scans: 1 },
    });
    make('run 1', 'run-1', 'deleted', 'later.tmp', 'later tmp');
    await scan();
    const gone = (await store.catalog.list({ name: 'deleted' })).datasets[0];
    await store.catalog.patch(gone?.id ?? 0, { is_deleted: true, name: 'deleted-1' });
    await scan();
    const refused = async (): Promise<string[]> =>
      (await refusalsOf(store.records, raw)).folders.map(({ name }) => name).toSorted();
    expect(await refused()).toEqual(['deleted', 'later.tmp', 'run-1']);
    // As the reasons advise: with a prefix, and under its own name.
    const byHand = (name: string, folder: string) => ({
      dataset: {
        name,
        type: 'RAW_DATA',
        origin_path: join(raw, folder),
        create_method: 'ON_DEMAND' as const,
      },
    });
    await store.catalog.register([byHand('mine-run-1', 'run-1'), byHand('deleted', 'deleted')], 'test');
    const known = (await datasets()).length;
    const rejecting = {
      ...parts.config.registration,
      RAW_DATA: { ...registrationOf(parts.config, 'RAW_DATA'), rejects: ['*.tmp'] },
    };
    await scanOnce({ ...parts, config: { ...parts.config, registration: rejecting } }, signal);
    expect(await refused()).toEqual([]);
    expect(await datasets()).toHaveLength(known);
    await scan();
    expect(await refused()).toEqual(['later.tmp']);
  });

  test('a name of 255 bytes is registered under a shortened one, the same each time', async () => {
    const { make, scan, raw, datasets } = await setUp();
    const names = ['x'.repeat(255), `${'x'.repeat(254)}y`, 'é'.repeat(127)];
    make(...names);
    await scan();
    const all = await datasets();
    expect(all.map(({ origin_path }) => origin_path).sort()).toEqual(
      names.map((name) => join(raw, name)).sort(),
    );
    for (const { name } of all) expect(Buffer.byteLength(`${name}.RAW_DATA.tar`)).toBeLessThan(255);
    expect(datasetNameOf(names[0] ?? '')).toBe(datasetNameOf('x'.repeat(255)));
    expect(datasetNameOf('short')).toBe('short');
    // Never in the middle of a character: half of one is no text that a catalog takes.
    for (const lead of ['', 'a', 'aa', 'aaa'])
      expect(datasetNameOf(`${lead}${'\u{1F600}'.repeat(62)}a`).isWellFormed()).toBe(true);
    expect(datasetNameOf('试验')).toMatch(/^dataset-[0-9a-f]{12}$/);
    expect(datasetNameOf('试验')).not.toBe(datasetNameOf('实验'));
  });

  test('a folder below minimum_dataset_size waits for a full scan that finds it grown', async () => {
    const { make, scan, raw, datasets } = await setUp({
      registration: { minimum_dataset_size: 1000, full_scan_every_n_scans: 2 },
    });
    make('small', 'large');
    mkdirSync(join(raw, 'large/deep'));
    writeFileSync(join(raw, 'large/deep/file'), Buffer.alloc(1000));
    writeFileSync(join(raw, 'small/file'), Buffer.alloc(999));
    await scan();
    expect((await datasets()).map(({ name }) => name)).toEqual(['large']);
    writeFileSync(join(raw, 'small/more'), Buffer.alloc(1));
    await scan();
    expect((await datasets()).map(({ name }) => name)).toEqual(['large', 'small']);
  });
});

describe('what came last is registered first', () => {
  const numbered = Array.from({ length: 100 }, (_, at) => `run-${at}`);

  async function underWay(full: boolean) {
    const { make, parts, datasets } = await setUp({
      registration: { batch_size: 10, full_scan_every_n_scans: full ? 2 : 90 },
    });
    make(...numbered);
    const scanner = createScanners(parts)[0]?.scanner;
    if (scanner === undefined) throw new Error('no source');
    if (full) await scanner.scan(signal);
    const rest = async () => {
      let batches = 0;
      while (await scanner.goOn()) batches += 1;
      return batches;
    };
    return { make, scanner, rest, names: async () => (await datasets()).map(({ name }) => name) };
  }

  test('a new folder does not wait for the full scan that is under way', async () => {
    const { make, scanner, rest, names } = await underWay(true);
    make('with it');
    expect(await scanner.look(signal)).toMatchObject({ full: true, added: 1 });
    await scanner.goOn();
    expect(await names()).toContain('with-it');
    make('after it');
    expect(await scanner.look(signal)).toMatchObject({ full: false, added: 1 });
    await scanner.goOn();
    expect(await names()).toContain('after-it');
    expect(await rest()).toBeGreaterThanOrEqual(10);
    expect(await names()).toHaveLength(102);
  });

  test('nor for the many that were new before it', async () => {
    const { make, scanner, rest, names } = await underWay(false);
    expect(await scanner.look(signal)).toMatchObject({ added: 100 });
    await scanner.goOn();
    make('late');
    expect(await scanner.look(signal)).toMatchObject({ added: 1 });
    await scanner.goOn();
    expect(await names()).toHaveLength(11);
    expect(await names()).toContain('late');
    await rest();
    expect((await names()).toSorted()).toEqual(['late', ...numbered].toSorted());
    expect(await scanner.scan(signal)).toMatchObject({ added: 0, left: 0 });
  });

  test('a full scan that was cut off by a restart begins again', async () => {
    const { make, parts } = await setUp({ registration: { batch_size: 1, full_scan_every_n_scans: 2 } });
    make('a', 'b');
    const start = () => createScanners(parts)[0]?.scanner;
    await start()?.scan(signal);
    const cut = start();
    expect(await cut?.look(signal)).toMatchObject({ full: true });
    await cut?.goOn();
    expect(await start()?.scan(signal)).toMatchObject({ full: true });
    expect(await start()?.scan(signal)).toMatchObject({ full: false });
  });
});
