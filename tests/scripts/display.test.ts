import { describe, expect, onTestFinished, test } from 'vitest';
import { datasetColumns, workflowColumns } from '../../scripts/cli/dataset-view.ts';
import { jobColumns, type PlacedJob } from '../../scripts/cli/fleet-view.ts';
import { follow, screenLines } from '../../scripts/cli/follow.ts';
import {
  ago,
  bytes,
  count,
  counted,
  duration,
  oneLine,
  printable,
  programLine,
  parseBytes,
  rate,
} from '../../scripts/cli/format.ts';
import { type Followed, figuresText } from '../../scripts/cli/progress.ts';
import { cutMiddle, type Out, printTable, table, textWidth, wrapped } from '../../scripts/cli/table.ts';
import type { Dataset } from '../../workers/dataset/types.ts';
import { openStore } from '../../workers/store.ts';
import { buildWorkflow } from '../../workers/workflows/definition.ts';
import { makePlace } from '../support/place.ts';

describe('figures', () => {
  test('sizes, rates, durations and counts read as people write them', () => {
    expect([0, 1023, 1024, 1536, 1024 ** 2 - 1, 150 * 1024 ** 3].map(bytes)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 KiB',
      '1.0 MiB',
      '150 GiB',
    ]);
    expect([bytes(null), rate(Number.NaN), rate(2048)]).toEqual(['-', '-', '2.0 KiB/s']);
    expect([0.0004, 0.45, 4.24, 59.6, 185, 7620, 360_000].map(duration)).toEqual([
      '0 ms',
      '450 ms',
      '4.2 s',
      '1 min 00 s',
      '3 min 05 s',
      '2 h 07 min',
      '4 d 04 h',
    ]);
    expect([count(1_234_567), ago('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:05:00Z'))]).toEqual([
      '1,234,567',
      '5 min 00 s ago',
    ]);
    expect(['10MB', '1.5 GiB', '4096', '7k', 'many', '-1', ''].map(parseBytes)).toEqual([
      10_485_760,
      1_610_612_736,
      4096,
      7168,
      null,
      null,
      null,
    ]);
  });

  test('one of a thing is said as one', () => {
    expect([0, 1, 2000, null].map((value) => counted(value, 'file'))).toEqual([
      '0 files',
      '1 file',
      '2,000 files',
      '- files',
    ]);
    expect(counted(2, 'entry', 'entries')).toBe('2 entries');
  });

  test('a message keeps its lines, and none of what steers a terminal', () => {
    expect(printable('two\nlines \u001b[2J')).toBe(String.raw`two${'\n'}lines \u001b[2J`);
  });

  test('what a program wrote keeps its tabs, and steers nothing', () => {
    expect(programLine('\tat Main\u001b[2J')).toBe(String.raw`${'\t'}at Main\u001b[2J`);
  });

  test('a name can neither break a line nor steer the terminal', () => {
    expect(oneLine('a\nb\u001b[31mc\u009b\ud800')).toBe(String.raw`a\nb\u001b[31mc\u009b\ud800`);
    expect(oneLine('Größe 数据 🧬')).toBe('Größe 数据 🧬');
  });
});

test('a wait for stability says how long it takes, and nothing of 0 ms when the time is over', () => {
  expect(figuresText({ name: 'x', time_remaining_sec: 12 })).toBe('stable in 12 s if unchanged');
  expect(figuresText({ name: 'x', time_remaining_sec: -0.3 })).toBe('waiting to be looked at again');
});

describe('tables', () => {
  const columns = [
    { title: 'NAME', value: (row: [string, number]) => row[0], shrink: true },
    { title: 'N', value: (row: [string, number]) => row[1], align: 'right' as const },
  ];

  test('columns are aligned by what a terminal shows, wide characters included', () => {
    const text = table(
      [
        ['a', 1],
        ['数据', 1000],
      ],
      columns,
    );
    expect(text).toBe('NAME     N\na        1\n数据  1000');
    expect(table([], columns)).toBe('');
  });

  test('a narrow terminal cuts the middle of what may shrink, and no line is too long', () => {
    const lines = table([[`/start/${'x'.repeat(200)}/end`, 5]], columns, { width: 40 }).split('\n');
    for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(40);
    expect(lines[1]).toMatch(/^\/start\/x+…x+\/end\s+5$/);
    expect(textWidth(cutMiddle('数据数据数据', 7))).toBeLessThanOrEqual(7);
  });

  test('a sentence is cut at its end, a column that does not shrink stays whole', () => {
    const rows = [{ code: 'E_ARCHIVE_UNAVAILABLE', message: 'the archive is not mounted on this host' }];
    const lines = table(
      rows,
      [
        { title: 'CODE', value: ({ code }) => code },
        { title: 'ERROR', value: ({ message }) => message, shrink: true, least: 8, cut: 'end' },
      ],
      { width: 40 },
    ).split('\n');
    expect(lines[1]).toBe('E_ARCHIVE_UNAVAILABLE  the archive is n…');
  });

  test('a sentence that finds no room takes several lines, and none of it is lost', () => {
    const note = `E_X: the file /${'y'.repeat(40)} is gone, 数据 and all`;
    const lines = table(
      [
        { name: 'run_17', note },
        { name: 'run_18', note: '' },
      ],
      [
        { title: 'NAME', value: ({ name }) => name },
        { title: 'NOTE', value: (row) => row.note, wrap: true },
      ],
      { width: 40 },
    ).split('\n');
    for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(40);
    expect(lines.slice(0, 2)).toEqual(['NAME    NOTE', 'run_17  E_X: the file']);
    const said = lines.slice(1, -1).map((line) => line.slice(8));
    expect(said.join('').replaceAll(' ', '')).toBe(note.replaceAll(' ', ''));
    expect(lines.at(-1)).toBe('run_18  -');
    expect(wrapped('one two three', 7)).toEqual(['one two', 'three']);
    expect(wrapped('', 7)).toEqual(['']);
  });

  test('what can be spared is left out of a narrow terminal, the last one first', () => {
    const spare = (title: string) => ({ title, value: () => 'x'.repeat(10), spare: true });
    const heads = (width = Number.POSITIVE_INFINITY) =>
      table(['run_17'], [{ title: 'NAME', value: (name) => name }, spare('B'), spare('C')], { width })
        .split('\n')[0]
        ?.split(/ +/);
    expect(heads()).toEqual(['NAME', 'B', 'C']);
    expect(heads(30)).toEqual(['NAME', 'B', 'C']);
    expect(heads(29)).toEqual(['NAME', 'B']);
    expect(heads(5)).toEqual(['NAME']);
  });

  test('workflows and running jobs fit into 80 columns, with a part of the id that finds them', () => {
    const id = '518bad81-4191-48ba-a43c-5809491ff140';
    const names = new Map([[1, 'a_rather_long_dataset_name_that_goes_on_and_on_2026_11_29']]);
    const shown = (out: Out): string[] => {
      let text = '';
      const to = { ...out, write: (part: string) => (text += part) };
      printTable(to, [followed(id, 'STARTED').workflow], workflowColumns(to, names));
      const job = { task_id: id, dataset_id: 1, workflow: 'integrated', step: 'await stability', attempt: 1 };
      const progress = { name: 'tar', done: 1024, total: 2048, units: 'bytes' };
      const since = new Date().toISOString();
      printTable(
        to,
        [{ ...job, since, progress, worker: 'app@node7.example.org:12345' } as unknown as PlacedJob],
        jobColumns(names),
      );
      return text.trimEnd().split('\n');
    };
    const narrow = shown({ write: () => true, isTTY: true, columns: 80 });
    for (const line of narrow) expect(textWidth(line)).toBeLessThanOrEqual(80);
    expect(narrow[1]?.split(/ +/)[0]).toBe(id.slice(0, 8));
    expect(narrow.at(-1)).toContain(id);
    const wide = shown({ write: () => true, isTTY: false });
    expect(wide[1]?.split(/ +/)[0]).toBe(id);
    expect(wide.join('\n')).toContain(names.get(1));
  });

  test('a list of datasets fits a terminal of 60 columns without what can be spared, and 90 with all', () => {
    const one = {
      id: 17,
      name: '20261122_A01234_0017_BHXXXXDSX2',
      type: 'DATA_PRODUCT',
      state: 'ARCHIVED',
      size: 1024 ** 3 * 123,
      num_files: 12_345,
      is_staged: false,
      metadata: {},
      updated_at: new Date(Date.now() - 62_000).toISOString(),
    } as unknown as Dataset & { state: string };
    const narrow = table([one], datasetColumns, { width: 60 }).split('\n');
    for (const line of narrow) expect(textWidth(line)).toBeLessThanOrEqual(60);
    expect(narrow[0]).toMatch(/^ID +NAME +TYPE +STATE +SIZE +STAGED$/);
    expect(table([one], datasetColumns, { width: 90 })).toContain('UPDATED');
  });

  test('a terminal without a size cuts nothing', () => {
    let text = '';
    const out = { write: (part: string) => (text += part), isTTY: true, columns: 0, rows: 0 };
    printTable(out, [['x'.repeat(100), 5] as [string, number]], columns);
    expect(text).toContain('x'.repeat(100));
  });
});

function followed(id: string, status: Followed['workflow']['status']): Followed {
  const step = {
    name: 'archive',
    task: 'archive_dataset',
    status: status === 'STARTED' ? status : 'PENDING',
    last_task_run: null,
  };
  return {
    id,
    dataset: id,
    workflow: {
      id,
      name: 'integrated',
      app_id: 'test',
      description: null,
      created_at: new Date().toISOString(),
      updated_at: null,
      status,
      steps_done: status === 'SUCCESS' ? 1 : 0,
      total_steps: 1,
      steps: [step as Followed['workflow']['steps'][number]],
      resume_lock: null,
      dataset_id: 1,
      initiator: 'test',
    },
  };
}

describe('following workflows', () => {
  test('more than fit on a screen are counted, what needs attention first', () => {
    const all = [
      ...Array.from({ length: 30 }, (_, at) => followed(`done-${at}`, 'SUCCESS')),
      followed('broken', 'FAILURE'),
      followed('running', 'STARTED'),
    ];
    const lines = screenLines(all, { width: 60, height: 10, colour: false });
    expect(lines).toHaveLength(8);
    expect(lines[0]).toContain('broken');
    expect(lines[1]).toContain('running');
    expect(lines.at(-1)).toBe('  and 25 more (30 of 32 done)');
    for (const line of lines) expect(textWidth(line)).toBeLessThan(60);
  });

  test('each change is one plain line, progress with bytes, rate and time left, until all are done', async () => {
    const place = await makePlace();
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    const item = { name: 'run_1', type: 'RAW_DATA', origin_path: '/x', create_method: 'TEST' as const };
    await store.catalog.register([{ dataset: item }], 'test');
    const workflow = buildWorkflow(
      place.config,
      { name: 'one', steps: [{ name: 'archive', task: 'archive_dataset' }] },
      { dataset_id: 1, initiator: 'test' },
    );
    await store.records.createWorkflow(workflow);
    let text = '';
    let looks = 0;
    const claim = async () => {
      const verdict = await store.records.claim(
        { workflow_id: workflow.id, index: 0, worker: 'w', host: 'h' },
        { max_losses: 3 },
      );
      if (verdict.verdict !== 'run') throw new Error(verdict.verdict);
      return verdict.key;
    };
    let key: Awaited<ReturnType<typeof claim>> | null = null;
    const act = async (): Promise<readonly string[]> => {
      looks += 1;
      if (looks === 2) key = await claim();
      if (looks === 4 && key !== null) await store.records.finish(key, { outcome: 'success', result: [1] });
      if (looks === 3 && key !== null)
        await store.records.progress(key, {
          name: 'tar',
          fraction_done: 0.5,
          done: 1024 ** 3,
          total: 2 * 1024 ** 3,
          units: 'bytes',
          time_remaining_sec: 8,
          wt_avg_rate: 128 * 1024 ** 2,
          avg_rate: 1,
        });
      return [workflow.id];
    };
    const seen: string[] = [];
    const [end] = await follow({
      store,
      workflow_ids: act,
      out: { write: (part: string) => (text += part) },
      interval_ms: 1,
      onChange: ([one]) =>
        seen.push(
          screenLines(one === undefined ? [] : [one], { width: 120, height: 9, colour: false })[0] ?? '',
        ),
    });
    expect(end?.workflow.status).toBe('SUCCESS');
    expect(text.split('\n').map((line) => line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC /, ''))).toEqual([
      `run_1: one (${workflow.id})`,
      'run_1: archive started',
      expect.stringMatching(/^run_1: archive done in/),
      expect.stringMatching(/^run_1: one SUCCESS after/),
      '',
    ]);
    expect(seen[2]).toContain('50% · 1.0 GiB of 2.0 GiB · 128 MiB/s · 8.0 s left');
    expect(text).not.toContain('\u001b');
  });

  test('on a terminal the lines are drawn over each other', async () => {
    const place = await makePlace();
    const store = await openStore(place.config);
    onTestFinished(() => store.close());
    const workflow = buildWorkflow(place.config, 'qc', { dataset_id: null, initiator: 'test' });
    await store.records.createWorkflow(workflow);
    let text = '';
    const leaving = new AbortController();
    let looks = 0;
    await follow({
      store,
      workflow_ids: async () => {
        looks += 1;
        if (looks === 2) await store.records.pause(workflow.id, { actor: 'test', take_out: false });
        return [workflow.id];
      },
      out: { write: (part: string) => (text += part), isTTY: true, columns: 70 },
      signal: leaving.signal,
      interval_ms: 1,
    });
    expect(text).toContain('\u001b[1A\u001b[J');
    expect(text).toContain('stopped; `npx longshore resume` continues it');
  });
});
