/**
 * `npm run chaos -- landings|noops [options]`: a fleet of its own in a folder of its own, killed at random, then judged by
 * other programs (find, sha256sum, tar, SQL). Ends with 1 when something was lost, doubled, corrupted or left behind.
 *
 *     npm run chaos -- landings [--count 200] [--workers 3] [--every 3] [--minutes 30] [--qc]
 *     npm run chaos -- noops [--count 5000] [--steps 1] [--workers 2] [--restart 5-10] [--minutes 60]
 *
 * Both: [--seed N] (printed; the same one makes the same datasets and strikes), [--dir DIR] [--keep] [--json].
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chaosOfLandings } from './chaos/landings.ts';
import { chaosOfNoops } from './chaos/noops.ts';
import { describeMachine } from './machine.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: 'string' },
    workers: { type: 'string' },
    steps: { type: 'string', default: '1' },
    every: { type: 'string', default: '3' },
    restart: { type: 'string', default: '5-10' },
    minutes: { type: 'string' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    dir: { type: 'string', default: tmpdir() },
    qc: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

/** @throws RangeError naming the option */
function number(name: 'count' | 'workers' | 'steps' | 'every' | 'minutes' | 'seed', otherwise = 0): number {
  const text = values[name];
  const value = text === undefined ? otherwise : Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new RangeError(`--${name} ${text}; expected a number above 0`);
}

function restartSeconds(): readonly [number, number] {
  const [, least, most] = /^(\d+)-(\d+)$/.exec(values.restart) ?? [];
  if (least !== undefined && most !== undefined) return [Number(least), Number(most)];
  throw new RangeError(`--restart ${values.restart}; expected seconds as 5-10`);
}

const tell = (line: string): void => {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);
};

async function run(mode: string, folder: string) {
  const common = { folder, seed: number('seed'), tell };
  if (mode === 'landings') {
    return chaosOfLandings({
      ...common,
      landings: number('count', 200),
      workers: number('workers', 3),
      every_seconds: number('every'),
      qc: values.qc,
      minutes: number('minutes', 30),
    });
  }
  return chaosOfNoops({
    ...common,
    workflows: number('count', 5000),
    steps: number('steps'),
    workers: number('workers', 2),
    restart_seconds: restartSeconds(),
    minutes: number('minutes', 60),
  });
}

const [mode = ''] = positionals;
if (!['landings', 'noops'].includes(mode)) {
  process.stderr.write('usage: npm run chaos -- landings|noops [options]; see bench/chaos.ts\n');
  process.exitCode = 2;
} else {
  const folder = mkdtempSync(join(values.dir, 'longshore-chaos-'));
  tell(`seed ${values.seed}, below ${folder}`);
  const result = await run(mode, folder);
  const { problems, ...figures } = result;
  if (values.json) {
    const machine = describeMachine(folder);
    process.stdout.write(`${JSON.stringify({ mode, seed: values.seed, machine, ...result }, null, 2)}\n`);
  } else {
    process.stdout.write(`${JSON.stringify({ seed: values.seed, ...figures }, null, 2)}\n`);
    for (const problem of problems.slice(0, 50)) process.stdout.write(`${problem}\n`);
    const verdict =
      problems.length === 0 ? 'nothing lost, doubled, corrupted or left' : `${problems.length} problems`;
    process.stdout.write(`${verdict}\n`);
  }
  if (problems.length > 0) process.exitCode = 1;
  if (values.keep || problems.length > 0) process.stderr.write(`the evidence is kept in ${folder}\n`);
  else rmSync(folder, { recursive: true, force: true });
}
