/**
 * `npm run chaos -- landings|noops [options]`: a fleet of its own in a folder of its own, killed at random, then judged by
 * other programs (find, sha256sum, tar, SQL). Ends with 1 when something was lost, doubled, corrupted or left behind.
 */
import { randomInt } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { createProgram, jsonOption, runProgram } from '../scripts/cli/program.ts';
import { wholeNumber } from '../scripts/cli/tool.ts';
import { chaosOfLandings } from './chaos/landings.ts';
import { chaosOfNoops } from './chaos/noops.ts';
import { describeMachine } from './machine.ts';

interface Options {
  readonly count: number;
  readonly workers: number;
  readonly minutes: number;
  readonly seed: number;
  readonly dir: string;
  readonly keep?: boolean;
  readonly json?: boolean;
}

interface Result {
  readonly problems: readonly string[];
}

const atLeastOne = wholeNumber(1);

const tell = (line: string): void => {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${line}\n`);
};

const program = createProgram(
  'chaos',
  'Run a fleet of its own, kill its parts at random, and judge what has become of the work.',
  ['npm run chaos -- landings --count 200', 'npm run chaos -- noops --restart 5-10 --seed 42'],
);

common(program.command('landings'), { count: 200, workers: 3, minutes: 30 })
  .description('datasets with odd names arrive while workers, tasks, the watcher and Redis are killed')
  .option('--every <seconds>', 'between two strikes, on average', seconds, 3)
  .option('--qc', 'let FastQC and MultiQC follow')
  .action(async (options: Options & { every: number; qc?: boolean }) =>
    judged('landings', options, (folder) =>
      chaosOfLandings({
        ...about(options, folder),
        landings: options.count,
        every_seconds: options.every,
        qc: options.qc ?? false,
      }),
    ),
  );

common(program.command('noops'), { count: 5000, workers: 2, minutes: 60 })
  .description('workflows that do nothing run while Redis is killed again and again')
  .option('--steps <n>', 'of each workflow', atLeastOne, 1)
  .option('--restart <seconds>', 'Redis is killed after so many, again and again', range, [5, 10] as const)
  .action(async (options: Options & { steps: number; restart: readonly [number, number] }) =>
    judged('noops', options, (folder) =>
      chaosOfNoops({
        ...about(options, folder),
        workflows: options.count,
        steps: options.steps,
        restart_seconds: options.restart,
      }),
    ),
  );

await runProgram(program);

function common(command: Command, usual: { count: number; workers: number; minutes: number }): Command {
  return command
    .option('--count <n>', 'datasets or workflows', atLeastOne, usual.count)
    .option('--workers <n>', 'processes', atLeastOne, usual.workers)
    .option('--minutes <n>', 'the longest that it may take', atLeastOne, usual.minutes)
    .option('--seed <n>', 'the same one makes the same datasets and strikes', atLeastOne, randomInt(1, 1e9))
    .option('--dir <folder>', 'where its folder is made', tmpdir())
    .option('--keep', 'keep its folder, also when all is well')
    .addOption(jsonOption());
}

function about({ seed, workers, minutes }: Options, folder: string) {
  return { folder, seed, workers, minutes, tell };
}

function seconds(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}

function range(text: string): readonly [number, number] {
  const [, least, most] = /^(\d+)-(\d+)$/.exec(text) ?? [];
  if (least !== undefined && most !== undefined) return [Number(least), Number(most)];
  throw new InvalidArgumentError('Expected two numbers, as 5-10.');
}

async function judged(
  mode: string,
  { seed, dir, keep, json }: Options,
  run: (folder: string) => Promise<Result>,
): Promise<void> {
  const folder = mkdtempSync(join(dir, 'longshore-chaos-'));
  tell(`seed ${seed}, below ${folder}`);
  const result = await run(folder);
  const { problems, ...figures } = result;
  if (json) {
    const machine = describeMachine(folder);
    process.stdout.write(`${JSON.stringify({ mode, seed, machine, ...result }, null, 2)}\n`);
  } else {
    process.stdout.write(`${JSON.stringify({ seed, ...figures }, null, 2)}\n`);
    for (const problem of problems.slice(0, 50)) process.stdout.write(`${problem}\n`);
    const verdict =
      problems.length === 0 ? 'nothing lost, doubled, corrupted or left' : `${problems.length} problems`;
    process.stdout.write(`${verdict}\n`);
  }
  if (problems.length > 0) process.exitCode = 1;
  if (keep || problems.length > 0) process.stderr.write(`the evidence is kept in ${folder}\n`);
  else rmSync(folder, { recursive: true, force: true });
}
