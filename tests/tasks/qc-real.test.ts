import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { coerceError } from '../../workers/errors.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { fastq } from './fastq.ts';
import { makeLanding } from './landing.ts';

const installed = ['fastqc', 'multiqc'].every((name) => spawnSync(name, ['--version']).error === undefined);
if (!installed)
  console.warn(
    'NOT TESTED: fastqc and multiqc are not installed (apt-get install fastqc multiqc); QC runs on stubs only',
  );

test.skipIf(!installed)(
  'the real FastQC and MultiQC make one report over all samples, same names in different folders included',
  async () => {
    const landing = await makeLanding({
      'lane1/S1_R1.fastq.gz': fastq(200, 1),
      'lane2/S1_R1.fastq.gz': fastq(300, 2),
      'odd name (1).fastq.gz': fastq(100, 3),
      '-dash.fq.gz': fastq(100, 4),
      'new\nline.fastq.gz': fastq(100, 5),
      'S1_R1.sorted.fastq.gz': fastq(100, 6),
      'empty.fastq.gz': '',
    });
    await landing.upTo('validate_dataset');
    await landing.run('generate_qc');
    const { metadata } = await landing.dataset();
    const report = await landing.store.catalog.report(landing.id);
    expect(report).toEqual({
      report_id: metadata.report_id,
      path: landing.place.path('data/qc/raw_data/run_A/qc/multiqc_report.html'),
    });
    const folder = landing.place.path('data/qc/raw_data/run_A/qc');
    const table = readFileSync(join(folder, 'multiqc_data/multiqc_fastqc.txt'), 'utf8');
    const samples = table
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split('\t')[0]);
    expect(new Set(samples)).toEqual(
      new Set(['S1_R1', 'S1_R1.sorted', '_dash', 'lane2_S1_R1', 'new-line', 'odd-name--1-']),
    );
    expect(realpathSync(landing.place.path('data/downloads', `${metadata.stage_alias}.qc.html`))).toBe(
      report?.path,
    );
    expect(readFileSync(report?.path ?? '', 'utf8')).toContain('lane2_S1_R1');
    expect(await landing.states()).toContain('QC');
  },
);

test.skipIf(!installed).each(['size=40k', 'nr_inodes=6', 'nr_inodes=12', 'size=900k'])(
  'a report folder without room (%s) is E_NO_SPACE at FastQC and at MultiQC, and QC is reached when it has room',
  async (limit) => {
    const landing = await makeLanding({ 'S1.fastq.gz': fastq(200, 1), 'S2.fastq.gz': fastq(200, 2) });
    await landing.upTo('validate_dataset');
    const folder = smallFileSystem(landing.place.dir('data/qc'), [limit]);
    if (folder === null) return console.warn('NOT TESTED: mounting is not permitted');
    // As the engine gives every failure its code.
    const full = coerceError(await landing.run('generate_qc').catch((error: unknown) => error));
    expect(full).toMatchObject({ code: 'E_NO_SPACE', class: 'operator' });
    expect(full.message).toContain(folder);
    expect(readdirSync(join(folder, 'raw_data/run_A'))).toEqual([]);
    spawnSync('mount', ['-o', 'remount,size=64m,nr_inodes=1000', folder]);
    await landing.run('generate_qc', { attempt: 2 });
    expect(await landing.states()).toContain('QC');
  },
);

test.skipIf(!installed)(
  'a file that is cut short fails the step, although FastQC ends with exit code 0',
  async () => {
    const landing = await makeLanding({ 'cut.fastq.gz': fastq(500).subarray(0, 3000) });
    await landing.upTo('validate_dataset');
    const error = await landing.fails('generate_qc');
    expect(error).toMatchObject({
      code: 'E_SUBPROCESS',
      class: 'operator',
      fields: { files: [expect.stringMatching(/cut\.fastq\.gz$/)] },
    });
    expect(await landing.states()).not.toContain('QC');
  },
);
