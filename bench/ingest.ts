import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine } from './machine.ts';
import { makeSet, SETS, type SetName } from './sets.ts';
import type { Side } from './side.ts';

/**
 * Landing a dataset, against a re-creation of the reference's own eight passes, side by side on the same files:
 *
 *     npm run bench -- ingest [--sets A,B,C] [--scale 0.1] [--digests blake3|md5|sha256] [--runs 1] [--dir DIR] [--json]
 *
 * Both sides end with an archived bundle, a staged bundle and a staged tree, every byte proven. Ours syncs to the disk
 * before it renames; the reference does not, so two ratios are given: `ratio` with two barriers added to the reference
 * (the same guarantees), `ratio_as_is` without. What the disk alone takes for our writes is measured between the two.
 * Needs free space below var/: 34 GB for A, 7 GB for each run of B, 16 GB for each run of C.
 */
export interface IngestResult {
  readonly set: SetName;
  readonly bytes: number;
  readonly digests: string;
  readonly reference: Side;
  readonly longshore: Side;
  readonly ratio: number;
  readonly ratio_as_is: number;
  readonly reads_per_byte: number;
  readonly writes_per_byte: number;
  /** That the disk takes for as many bytes as ours writes when nothing else is done: no order of work is faster. */
  readonly disk_seconds: number;
}

interface Options {
  readonly scale: number;
  readonly digests: string;
  readonly runs: number;
}

/** As the fleet starts its tasks: compiled code is kept, which saves a tenth of a second for each pair of threads. */
const ENV = { ...process.env, NODE_COMPILE_CACHE: join(import.meta.dirname, '../var/cache/node') };
const BENCH_DIR = join(import.meta.dirname, '../var/bench');

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      sets: { type: 'string', default: 'A,B,C' },
      scale: { type: 'string', default: '1' },
      digests: { type: 'string', default: 'blake3' },
      runs: { type: 'string', default: '1' },
      dir: { type: 'string', default: BENCH_DIR },
      json: { type: 'boolean', default: false },
    },
  });
  mkdirSync(values.dir, { recursive: true });
  const machine = describeMachine(values.dir);
  const say = (line: string): void => {
    if (!values.json) process.stdout.write(`${line}\n`);
  };
  say(
    Object.entries(machine)
      .map(([key, value]) => `${key}: ${typeof value === 'object' ? JSON.stringify(value) : value}`)
      .join('\n'),
  );
  const options = { scale: Number(values.scale), digests: values.digests, runs: Number(values.runs) };
  say(`digests: ${values.digests} for members and bundle; scale ${values.scale}; runs ${values.runs}\n`);
  const folder = join(values.dir, `ingest-${process.pid}`);
  const results: IngestResult[] = [];
  try {
    for (const name of setsOf(values.sets)) {
      const found = measureSet(name, folder, options);
      say(describe(found));
      results.push(found);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ machine, results }, null, 2)}\n`);
}

function setsOf(text: string): SetName[] {
  const names = text.split(',');
  const wrong = names.find((name) => !(name in SETS));
  if (wrong !== undefined)
    throw new Error(`--sets ${wrong}: expected some of ${Object.keys(SETS).join(', ')}`);
  return names as SetName[];
}

function measureSet(set: SetName, folder: string, options: Options): IngestResult {
  const source = join(folder, set, 'source');
  const bytes = makeSet(set, source, options.scale);
  const pairs = Array.from({ length: options.runs }, (_, index) => {
    const work = (name: string): string => join(folder, set, `${name}-${index}`);
    const measure = (name: 'reference' | 'longshore'): Side => {
      const measured = side(name, source, work(name), options.digests);
      if (set === 'A') rmSync(work(name), { recursive: true });
      return measured;
    };
    const reference = measure('reference');
    const bytes_per_second = diskRate(join(folder, set), bytes);
    return { reference, longshore: measure('longshore'), bytes_per_second };
  });
  const middle = pairs.toSorted((a, b) => ratioOf(a) - ratioOf(b))[Math.floor(options.runs / 2)];
  if (middle === undefined) throw new Error(`--runs ${options.runs}: expected at least 1`);
  return {
    set,
    bytes,
    digests: options.digests,
    reference: middle.reference,
    longshore: middle.longshore,
    disk_seconds: middle.longshore.written / middle.bytes_per_second,
    ratio: ratioOf(middle),
    ratio_as_is: sum(middle.reference.steps) / total(middle.longshore),
    reads_per_byte: middle.longshore.read / bytes,
    writes_per_byte: middle.longshore.written / bytes,
  };
}

/**
 * Runs one side in its own process, on a quiet disk. Only A's few files are removed before all is measured: on ext4
 * without a journal, creating files after a mass deletion is up to ten times slower.
 */
function side(name: 'reference' | 'longshore', source: string, work: string, digests: string): Side {
  mkdirSync(work, { recursive: true });
  execFileSync('sync');
  const args = [join(import.meta.dirname, 'side.ts'), name, source, work, digests];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', env: ENV })) as Side;
}

const PIECE = 8 * 1024 ** 2;
const MOST_PIECES = 256;

/** Bytes per second of one long write past the page cache; what is written does not matter. */
function diskRate(folder: string, bytes: number): number {
  const path = join(folder, 'disk');
  const count = Math.min(MOST_PIECES, Math.ceil(bytes / PIECE));
  execFileSync('sync');
  const start = performance.now();
  const how = [`bs=${PIECE}`, `count=${count}`, 'oflag=direct', 'conv=fsync'];
  execFileSync('dd', ['if=/dev/zero', `of=${path}`, ...how], { stdio: 'ignore' });
  const seconds = (performance.now() - start) / 1000;
  rmSync(path);
  return (count * PIECE) / seconds;
}

const sum = (seconds: Record<string, number>): number =>
  Object.values(seconds).reduce((all, one) => all + one, 0);
const total = (side: Side): number => sum(side.steps) + sum(side.barriers);
const ratioOf = (pair: { reference: Side; longshore: Side }): number =>
  total(pair.reference) / total(pair.longshore);

const named = (barriers: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(barriers).map(([name, seconds]) => [`(sync of ${name})`, seconds]));

function describe(result: IngestResult): string {
  const line = (name: string, side: Side): string =>
    `  ${name.padEnd(10)} ${total(side).toFixed(1).padStart(6)} s   reads ${(side.read / result.bytes).toFixed(2)}x  ` +
    `writes ${(side.written / result.bytes).toFixed(2)}x  processor ${side.processor.toFixed(1)} s   ${Object.entries(
      { ...side.steps, ...named(side.barriers) },
    )
      .map(([step, seconds]) => `${step} ${seconds.toFixed(1)}`)
      .join(' · ')}`;
  return [
    `set ${result.set}: ${SETS[result.set]}, ${(result.bytes / 1e9).toFixed(2)} GB`,
    line('reference', result.reference),
    line('longshore', result.longshore),
    `  ratio ${result.ratio.toFixed(2)} with the same guarantees, ${result.ratio_as_is.toFixed(2)} with the reference unsynced   peak memory of our process ${(result.longshore.peak / 1e6).toFixed(0)} MB`,
    `  the disk alone takes ${result.disk_seconds.toFixed(1)} s for what ours writes\n`,
  ].join('\n');
}
