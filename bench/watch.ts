import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createLogger } from '../workers/log.ts';
import { createScanner, type ScanNote } from '../workers/watch/scanner.ts';
import { describeMachine } from './machine.ts';

const ROUNDS = 9;
const BOUND_MS = 150;
const BOUND_MB = 150;

/**
 * How long a scan of many folders takes, and how much memory it needs; all in one process:
 *
 *     npm run bench -- watch [--folders 100000] [--dir DIR]
 *
 * Ends with 1 when it is out of the bounds, which are those of 100,000 folders on a local disk.
 */
export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { folders: { type: 'string', default: '100000' }, dir: { type: 'string', default: tmpdir() } },
  });
  const folders = Number(values.folders);
  const folder = mkdtempSync(join(values.dir, 'bench-watch-'));
  try {
    for (let at = 0; at < folders; at += 1) mkdirSync(join(folder, `run-${at}`));
    process.stdout.write(`${JSON.stringify(describeMachine(folder))}\n`);
    process.exitCode = report(folders, await measure(folder));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Measured {
  first: number;
  idle: number[];
  rss: number;
}

async function measure(folder: string): Promise<Measured> {
  const names = new Set<string>();
  let note: ScanNote | null = null;
  const scanner = createScanner({
    path: folder,
    full_every: Number.MAX_SAFE_INTEGER,
    log: createLogger('bench', {}, { level: 'silent' }),
    memory: {
      known: async () => names,
      apply: async () => undefined,
      note: async () => note,
      setNote: async (next) => {
        note = next;
      },
    },
    handle: async function* handle({ names: found }) {
      yield found;
    },
  });
  const { signal } = new AbortController();
  const timed = async (): Promise<number> => {
    const started = performance.now();
    await scanner.scan(signal);
    return performance.now() - started;
  };
  const first = await timed();
  const idle: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) idle.push(await timed());
  return { first, idle: idle.sort((a, b) => a - b), rss: process.memoryUsage.rss() / 1e6 };
}

function report(folders: number, { first, idle, rss }: Measured): number {
  const median = idle[Math.floor(idle.length / 2)] ?? Number.NaN;
  const line = (name: string, value: string, bound = ''): string =>
    `${name.padEnd(34)} ${value.padStart(10)}  ${bound}`;
  const good = median <= BOUND_MS && rss <= BOUND_MB;
  process.stdout.write(
    `${[
      `watch: ${folders} folders, ${ROUNDS} scans`,
      line('first scan, everything is new', `${first.toFixed(0)} ms`),
      line('scan, fastest', `${(idle[0] ?? 0).toFixed(0)} ms`),
      line('scan, median', `${median.toFixed(0)} ms`, `bound ${BOUND_MS} ms`),
      line('memory of the process', `${rss.toFixed(0)} MB`, `bound ${BOUND_MB} MB`),
      good ? 'within bounds' : 'OUT OF BOUNDS',
    ].join('\n')}\n`,
  );
  return good ? 0 : 1;
}
