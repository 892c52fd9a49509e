import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeSmall } from '../../workers/content/files.ts';
import { fastqGz, generator } from './reads.ts';

/** What instruments and users drop into the watched folders. The same bytes at each run. */
const SAMPLES: readonly { name: string; type: 'raw' | 'products'; build: (folder: string) => void }[] = [
  { name: '20261122_A01234_0017_BHXXXXDSX2', type: 'raw', build: sequencingRun },
  { name: 'odd names & "quotes" (100 %)', type: 'raw', build: oddNames },
  { name: 'many-small-files', type: 'raw', build: manySmallFiles },
  { name: 'variants_v2', type: 'products', build: variants },
];

export const SAMPLE_COUNT = SAMPLES.length;

/** Written aside first, as an instrument's copy job does it, so that the watcher sees whole folders. */
export function buildSamples(aside: string): void {
  for (const { name, build } of SAMPLES) {
    const folder = join(aside, name);
    mkdirSync(folder, { recursive: true });
    build(folder);
  }
}

export function dropSamples(
  aside: string,
  sources: { readonly raw: string; readonly products: string },
): void {
  for (const { name, type } of SAMPLES) renameSync(join(aside, name), join(sources[type], name));
}

function sequencingRun(folder: string): void {
  for (const sample of ['S1_liver', 'S2_kidney']) {
    mkdirSync(join(folder, 'Fastq', sample), { recursive: true });
    for (const mate of [1, 2] as const) {
      const file = join(folder, 'Fastq', sample, `${sample}_L001_R${mate}_001.fastq.gz`);
      writeSmall(file, fastqGz({ seed: sample, reads: 12_000, length: 101, mate }));
    }
  }
  writeSmall(join(folder, 'RunInfo.xml'), '<RunInfo Version="6"><Run Id="A01234_0017"/></RunInfo>\n');
  writeSmall(
    join(folder, 'SampleSheet.csv'),
    '[Data]\nSample_ID,index\nS1_liver,ACGTACGT\nS2_kidney,TTGCATGC\n',
  );
  writeSmall(join(folder, 'RTAComplete.txt'), '');
}

/** Everything that a file system allows and a careless program trips over. */
function oddNames(folder: string): void {
  const write = (name: string, text: string | Buffer = `${name}\n`): void =>
    writeSmall(join(folder, name), text);
  write('with space');
  write('-leading dash');
  write('new\nline');
  write(`quotes ' " \` $HOME \\ *?[x]`);
  write('\u00fcml\u00e4ut \u65e5\u672c\u8a9e \u{1f9ec}');
  write('.hidden');
  write('empty', '');
  write('n'.repeat(255), 'a name of 255 bytes\n');
  writeFileSync(Buffer.concat([Buffer.from(`${folder}/latin1-`), Buffer.from([0xe9, 0xff])]), 'no UTF-8\n');
  mkdirSync(join(folder, 'nested/a/b/c/empty folder'), { recursive: true });
  write('nested/a/b/c/deep.bam', random('deep', 300_000));
  symlinkSync('nested/a/b/c/deep.bam', join(folder, 'link to file'));
  symlinkSync('nested', join(folder, 'link to folder'));
  symlinkSync('/nowhere/at all', join(folder, 'dangling link'));
}

function manySmallFiles(folder: string): void {
  for (let tile = 0; tile < 20; tile += 1) {
    const below = join(folder, `tile-${tile}`);
    mkdirSync(below);
    for (let index = 0; index < 50; index += 1) {
      writeSmall(join(below, `cycle-${index}.json`), `{"tile":${tile},"cycle":${index}}\n`);
    }
  }
}

function variants(folder: string): void {
  writeSmall(join(folder, 'cohort.vcf.gz'), random('variants', 2_000_000));
  writeSmall(join(folder, 'cohort.vcf.gz.tbi'), random('index', 20_000));
  symlinkSync('cohort.vcf.gz', join(folder, 'latest.vcf.gz'));
}

function random(seed: string, size: number): Buffer {
  const next = generator(seed);
  return Buffer.from(Uint8Array.from({ length: size }, () => next() * 256));
}

export const GROWING = 'still-being-written';

/**
 * A run that is in the source folder from the start and gets more bytes until `enough` says so. It has to land last,
 * and complete.
 */
export async function growSample(source: string, enough: () => boolean, signal: AbortSignal): Promise<void> {
  const folder = join(source, GROWING);
  mkdirSync(join(folder, 'Data'), { recursive: true });
  for (let cycle = 1; !signal.aborted && !(enough() && cycle > 20); cycle += 1) {
    const file = join(folder, 'Data', `cycle-${Math.ceil(cycle / 8)}.bcl`);
    writeSmall(file, random(`cycle-${cycle}`, 100_000), { flag: 'a' });
    await sleep(250, undefined, { signal }).catch(() => undefined);
  }
  writeSmall(join(folder, 'RTAComplete.txt'), 'done\n');
}
