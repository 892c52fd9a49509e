import {
  existsSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { type Files, makeLanding } from './landing.ts';
import { noteCalls, stubTools } from './stubs.ts';

afterEach(() => vi.unstubAllEnvs());

const reads = (count: number): Files =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`lane/S${at}.fastq.gz`, 'reads']));

async function staged(files: Files, config: Record<string, unknown> = {}) {
  const landing = await makeLanding(files, { config: { tools: stubTools, qc: { threads: 3 }, ...config } });
  await landing.upTo('validate_dataset');
  return landing;
}

test('19 files go through FastQC in groups of 8 with threads from the budget, the report is kept, linked, and QC reached', async () => {
  const landing = await staged({ ...reads(19), 'notes.txt': 'x' });
  const calls = noteCalls(landing);
  await landing.run('generate_qc');

  const fastqc = calls().filter((call) => call.startsWith('-t'));
  expect(fastqc.map((call) => (call.match(/\.fastq\.gz/g) ?? []).length)).toEqual([8, 8, 3]);
  expect(fastqc.every((call) => call.startsWith('-t 3 '))).toBe(true);
  const { metadata } = await landing.dataset();
  const report = await landing.store.catalog.report(landing.id);
  expect(report).toEqual({
    report_id: metadata.report_id,
    path: landing.place.path('data/qc/raw_data/run_A/qc/multiqc_report.html'),
  });
  expect(readFileSync(report?.path ?? '', 'utf8')).toContain('S18_fastqc.zip');
  const link = landing.place.path('data/downloads', `${metadata.stage_alias}.qc.html`);
  expect(realpathSync(link)).toBe(report?.path);
  expect((await landing.states()).at(-1)).toBe('QC');
  expect(landing.progress.at(-1)).toEqual({ name: 'fastqc', done: 19, total: 19 });
  expect(readdirSync(landing.place.path('data/qc/raw_data/run_A'))).toEqual(['qc']);
});

test('what MultiQC leaves behind when it is killed lies in the folder that the next attempt clears', async () => {
  const landing = await staged(reads(1));
  const calls = noteCalls(landing);
  await landing.run('generate_qc');
  const place = calls().find((call) => call.startsWith('temporary files in '));
  expect(place).toContain(`in ${landing.place.path('data/qc/raw_data/run_A')}/`);
  const folder = landing.place.path('data/qc/raw_data/run_A/qc');
  expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([]);
});

test('a second run keeps the report id and replaces the report', async () => {
  const landing = await staged(reads(1));
  noteCalls(landing);
  await landing.run('generate_qc');
  const first = (await landing.dataset()).metadata.report_id;
  await landing.run('generate_qc', { task_id: 'task-0002', workflow_id: 'workflow-2' });
  expect((await landing.dataset()).metadata.report_id).toBe(first);
  expect((await landing.states()).filter((state) => state === 'QC')).toHaveLength(2);
});

test('reads that have not changed keep their results, also after a kill; changed and new ones are looked at', async () => {
  const landing = await staged(reads(9));
  const calls = noteCalls(landing);
  const looked = (): string[] =>
    calls()
      .filter((call) => call.startsWith('-t'))
      .flatMap((call) => [...call.matchAll(/(S\d+)\.fastq\.gz/g)].map(([, sample = '']) => sample));
  await landing.run('generate_qc');
  expect(looked()).toHaveLength(9);
  writeFileSync(join(landing.origin, 'lane/S3.fastq.gz'), 'other');
  writeFileSync(join(landing.origin, 'lane/S9.fastq.gz'), 'newer');
  const again = { task_id: 'task-0002', workflow_id: 'workflow-2' };
  for (const task of ['inspect_dataset', 'archive_dataset', 'stage_dataset', 'validate_dataset'])
    await landing.run(task, again);
  await landing.run('generate_qc', again);
  expect(looked().slice(9).toSorted()).toEqual(['S3', 'S9']);
  const report = await landing.store.catalog.report(landing.id);
  expect(readFileSync(report?.path ?? '', 'utf8')).toContain('S5_fastqc.zip');

  // A run that dies between its batches leaves what it had; this is what lies there then.
  const qc = landing.place.path('data/qc/raw_data/run_A');
  renameSync(join(qc, 'qc'), join(qc, '.qc.partial-dead0000'));
  rmSync(join(qc, '.qc.partial-dead0000/S1_fastqc.zip'));
  writeFileSync(join(qc, '.qc.partial-dead0000/gone_fastqc.zip'), '');
  await landing.run('generate_qc', { task_id: 'task-0003', workflow_id: 'workflow-3' });
  expect(looked().slice(11)).toEqual(['S1']);
  expect(readFileSync(report?.path ?? '', 'utf8')).not.toContain('gone_fastqc.zip');
  expect(readdirSync(qc)).toEqual(['qc']);
});

test('without a report the step fails, and an older report stays', async () => {
  const landing = await staged(reads(2));
  noteCalls(landing);
  await landing.run('generate_qc');
  noteCalls(landing, { STUB_NO_REPORT: 'yes' });
  expect(await landing.fails('generate_qc', { task_id: 'task-0002' })).toMatchObject({
    code: 'E_QC_REPORT_MISSING',
  });
  expect(existsSync(landing.place.path('data/qc/raw_data/run_A/qc/multiqc_report.html'))).toBe(true);
  expect(readdirSync(landing.place.path('data/qc/raw_data/run_A'))).toEqual(['qc']);
});

test('a dataset without FASTQ files needs no QC: success, no program runs, no state', async () => {
  const landing = await staged({ 'a.bam': 'x' });
  const calls = noteCalls(landing);
  expect(await landing.run('generate_qc')).toEqual([landing.id]);
  expect(calls()).toEqual([]);
  expect((await landing.states()).at(-1)).toBe('STAGED');
});

test('a DATA_PRODUCT has its QC folder too', async () => {
  const landing = await makeLanding(reads(1), { type: 'DATA_PRODUCT', config: { tools: stubTools } });
  await landing.upTo('validate_dataset');
  noteCalls(landing);
  await landing.run('generate_qc');
  expect(existsSync(landing.place.path('data/qc/data_products/run_A/qc/multiqc_report.html'))).toBe(true);
});

test('links out of the dataset and links that lead nowhere are not read', async () => {
  const landing = await staged({
    'S1.fastq.gz': 'reads',
    'again.fastq.gz': { link: 'S1.fastq.gz' },
    'gone.fastq.gz': { link: 'nowhere.fastq.gz' },
    'out.fastq.gz': { link: '/etc/hostname' },
  });
  const calls = noteCalls(landing);
  await landing.run('generate_qc');
  expect(
    calls()[0]
      ?.match(/\S+\.fastq\.gz/g)
      ?.map((path) => path.split('/').at(-1)),
  ).toEqual(['S1.fastq.gz']);
});

test('FastQC that is not installed is named', async () => {
  const landing = await staged(reads(1), { tools: { ...stubTools, fastqc: 'fastqc-of-nowhere' } });
  expect(await landing.fails('generate_qc')).toMatchObject({
    code: 'E_TOOL_MISSING',
    message: expect.stringContaining('fastqc-of-nowhere'),
  });
});

test('a dataset that is not staged is refused with what to do', async () => {
  const landing = await makeLanding(reads(1), { config: { tools: stubTools } });
  const error = await landing.fails('generate_qc');
  expect(error.code).toBe('E_VALIDATION');
  expect(error.hint).toContain(`longshore stage ${landing.id}`);
});
