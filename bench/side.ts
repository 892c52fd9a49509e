import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { manifestKey } from '../workers/archive/contract.ts';
import { createFilesystemArchive } from '../workers/archive/filesystem.ts';
import type { DigestName } from '../config/index.ts';
import { compareTree } from '../workers/content/compare/compare.ts';
import { inspectTree } from '../workers/content/inspect.ts';
import { manifestFileRows } from '../workers/content/file-rows.ts';
import { packBundle } from '../workers/content/pack/pack.ts';
import { partialPath, publishFile, publishTree } from '../workers/content/publish.ts';
import { unpackBundle } from '../workers/content/unpack/unpack.ts';
import { movedBytes, peakMemory, usedProcessor } from './machine.ts';

/**
 * One side of the comparison in a process of its own, so that the kernel's counters are its alone.
 * Prints `{steps, read, written, peak}` as JSON.
 */
export interface Side {
  readonly steps: Record<string, number>;
  /**
   * Seconds for what the reference leaves out and ours does within its steps: waiting until the archive, then the
   * staged copy, is on the disk.
   */
  readonly barriers: Record<string, number>;
  readonly read: number;
  readonly written: number;
  /** Seconds of processor time; less noisy than the clock where others use the machine too. */
  readonly processor: number;
  readonly peak: number;
}

const [side = '', source = '', work = '', digest = 'blake3'] = process.argv.slice(2);
const steps: Record<string, number> = {};
const barriers: Record<string, number> = {};

async function step<T>(name: string, run: () => T | Promise<T>, kept = steps): Promise<T> {
  const start = performance.now();
  const result = await run();
  kept[name] = (performance.now() - start) / 1000;
  return result;
}

const barrier = (name: string, path: string) =>
  step(name, () => execFileSync('sync', ['-f', path]), barriers);

/** The eight passes of the reference, each a process of its own, as there. */
async function reference(): Promise<void> {
  // The reference is Python; where there is none, the same reads from Node.
  const script = hasPython()
    ? ['python3', join(import.meta.dirname, 'reference.py')]
    : [process.execPath, join(import.meta.dirname, 'reference.ts')];
  const [program = '', ...first] = script;
  const call = (...args: string[]) => execFileSync(program, [...first, ...args], { stdio: 'ignore' });
  const bundle = join(work, 'bundle.tar');
  const archived = join(work, 'archived.tar');
  const staged = join(work, 'staged.tar');
  const tree = join(work, 'tree');
  await step('inspect', () => call('md5-tree', source));
  await step('tar', () => execFileSync('tar', ['cf', bundle, '--sparse', '-C', source, '.']));
  await step('md5 of tar', () => call('md5', bundle));
  await step('copy', () => call('copy', bundle, archived));
  await barrier('archive', archived);
  await step('copy back', () => call('copy', archived, staged));
  await step('md5 of copy', () => call('md5', staged));
  mkdirSync(tree);
  await step('extract', () => call('extract', staged, tree));
  await barrier('staged', tree);
  await step('validate', () => call('md5-tree', tree));
}

/** The same outcome, as the tasks reach it: archived bundle, staged bundle, staged tree, every byte proven. */
async function longshore(): Promise<void> {
  const digests = { member: [digest as DigestName], bundle: [digest as DigestName] };
  const archive = createFilesystemArchive({ roots: [join(work, 'archive')], state_dir: join(work, 'state') });
  const { local } = archive;
  if (local === null) throw new Error('the file system is local');
  const key = join(work, 'archive', 'bundle.tar');
  const bundle = local.path(key);
  const manifest = local.path(manifestKey(key));
  const staged = join(work, 'staged.tar');
  const tree = join(work, 'tree');
  await step('inspect', () => inspectTree({ root: source, genome_file_types: [] }));
  const packed = await step('archive', async () => {
    const put = await local.beginPut(key, { task_id: 'bench' });
    const result = await packBundle({ source, target: put.path, manifest: put.manifestPath, digests });
    for await (const rows of manifestFileRows(put.manifestPath, 25_000)) void rows;
    await put.commit();
    return result;
  });
  await step('stage', async () => {
    const target = partialPath(tree, 'bench');
    const copy = partialPath(staged, 'bench');
    mkdirSync(target);
    const result = await unpackBundle({
      bundle,
      target,
      copy,
      manifest,
      expect: { size: packed.size, digests: packed.digests },
    });
    publishFile(copy, staged);
    await publishTree(result.root, tree);
  });
  await step('validate', async () => {
    const { problems } = await compareTree({ root: tree, manifest, level: 'stream' });
    if (problems.length > 0)
      throw new Error(`the staged tree differs: ${JSON.stringify(problems.slice(0, 3))}`);
  });
}

function hasPython(): boolean {
  try {
    execFileSync('python3', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

const before = { ...movedBytes(), processor: usedProcessor() };
await (side === 'reference' ? reference() : longshore());
const after = movedBytes();
const result: Side = {
  steps,
  barriers,
  read: after.read - before.read,
  written: after.written - before.written,
  processor: usedProcessor() - before.processor,
  peak: peakMemory(),
};
process.stdout.write(JSON.stringify(result));
