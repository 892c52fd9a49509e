import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadConfig } from '../config/index.ts';
import { removeTree } from '../workers/content/coreutils.ts';
import { openStore } from '../workers/store.ts';
import { describeMachine } from './machine.ts';
import type { MemoryStep } from './memory-step.ts';

/**
 * A dataset of a million files and one of 100 GB, each through the tasks of a landing, every task in a process of its
 * own, as in a fleet:
 *
 *     npm run bench -- memory [--sets files,sparse] [--files 1000000] [--gigabytes 100] [--dir DIR] [--json]
 *
 * Ends with 1 when a process needed more than the bound. Needs 10 GB and 3 million inodes below var/; making and removing
 * a million files twice takes most of the time.
 */
const BOUND_MB = 400;
const TASKS = ['inspect_dataset', 'archive_dataset', 'stage_dataset', 'validate_dataset'] as const;

interface Measured {
  readonly set: string;
  readonly task: string;
  readonly seconds: number;
  readonly peak_mb: number;
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      sets: { type: 'string', default: 'files,sparse' },
      files: { type: 'string', default: '1000000' },
      gigabytes: { type: 'string', default: '100' },
      dir: { type: 'string', default: join(import.meta.dirname, '../var/bench') },
      json: { type: 'boolean', default: false },
    },
  });
  const sets: Readonly<Record<string, (folder: string) => void>> = {
    files: (folder) => makeFiles(folder, Number(values.files)),
    sparse: (folder) => makeSparse(folder, Number(values.gigabytes) * 1e9),
  };
  const wanted = values.sets.split(',').map((name) => {
    const make = sets[name];
    if (make === undefined)
      throw new Error(`--sets ${name}: expected some of ${Object.keys(sets).join(', ')}`);
    return [name, make] as const;
  });
  const say = (line: string): void => {
    if (!values.json) process.stdout.write(`${line}\n`);
  };
  const folder = join(values.dir, `memory-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  const machine = describeMachine(values.dir);
  say(JSON.stringify(machine));
  say(`${values.files} files of a few bytes; one file of ${values.gigabytes} GB with islands of data`);
  const results: Measured[] = [];
  try {
    for (const [name, make] of wanted) {
      for await (const one of land(name, make, folder)) {
        say(
          `${one.set.padEnd(8)} ${one.task.padEnd(18)} ${one.seconds.toFixed(1).padStart(7)} s  peak ${one.peak_mb.toFixed(0).padStart(4)} MB`,
        );
        results.push(one);
      }
    }
  } finally {
    await removeTree(folder);
  }
  const good = results.every(({ peak_mb }) => peak_mb < BOUND_MB);
  if (values.json) process.stdout.write(`${JSON.stringify({ machine, results }, null, 2)}\n`);
  else say(good ? `every process below ${BOUND_MB} MB` : `OUT OF BOUNDS: more than ${BOUND_MB} MB`);
  process.exitCode = good ? 0 : 1;
}

async function* land(
  set: string,
  make: (folder: string) => void,
  folder: string,
): AsyncGenerator<Measured, void, undefined> {
  const home = join(folder, set);
  const origin = join(home, 'origin');
  make(origin);
  const env = { APP_ENV: 'test', LONGSHORE_DOTENV: 'none', LONGSHORE_HOME: home };
  const id = await register(env, origin);
  for (const task of TASKS) {
    execFileSync('sync');
    const args = [join(import.meta.dirname, 'memory-step.ts'), task, String(id)];
    const output = execFileSync(process.execPath, args, {
      encoding: 'utf8',
      env: { PATH: process.env.PATH, LOG_LEVEL: 'error', ...env },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { seconds, peak } = JSON.parse(output) as MemoryStep;
    yield { set, task, seconds, peak_mb: peak / 1e6 };
  }
}

async function register(values: Record<string, string>, origin_path: string): Promise<number> {
  const { config } = await loadConfig({ environment: { values, file: null, fromFile: new Set() } });
  const store = await openStore(config);
  try {
    const dataset = { name: 'bench', type: 'RAW_DATA', origin_path, create_method: 'TEST' } as const;
    const [made] = await store.catalog.register([{ dataset }], 'bench');
    if (made?.outcome !== 'created') throw new Error(`not registered: ${JSON.stringify(made)}`);
    return made.dataset.id;
  } finally {
    await store.close();
  }
}

/** In folders of a thousand. */
function makeFiles(folder: string, count: number): void {
  for (let at = 0; at < count; at += 1) {
    const below = join(folder, `run-${String(Math.floor(at / 1000)).padStart(4, '0')}`);
    if (at % 1000 === 0) mkdirSync(below, { recursive: true });
    writeFileSync(join(below, `reads-${at}.txt`), `${at}\n`);
  }
}

/** A MiB of data every five gigabytes, and some in the middle of nowhere. */
function makeSparse(folder: string, size: number): void {
  mkdirSync(folder, { recursive: true });
  const fd = openSync(join(folder, 'image.bin'), 'w');
  const data = Buffer.alloc(1024 * 1024, 'data');
  for (let at = 0; at + data.length < size; at += 5e9) writeSync(fd, data, 0, data.length, at);
  writeSync(fd, data, 0, 1, Math.floor(size / 3));
  ftruncateSync(fd, size);
  closeSync(fd);
}
