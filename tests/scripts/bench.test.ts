import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const BENCH = join(import.meta.dirname, '../../bench');
const RUN = join(BENCH, 'run.ts');
const bench = (...args: string[]) => spawnSync(process.execPath, [RUN, ...args], { encoding: 'utf8' });

const NAMES = /<([\w|]+)>/.exec(bench('--help').stdout)?.[1]?.split('|') ?? [];

test('every benchmark is told of', () => {
  const files = readdirSync(BENCH).map((name) => name.replace('.ts', ''));
  expect(NAMES.length).toBeGreaterThan(4);
  expect(files).toEqual(expect.arrayContaining(NAMES));
});

test.each(NAMES)('bench -- %s --help tells its options, and a wrong one measures nothing', (name) => {
  const help = execFileSync(process.execPath, [RUN, name, '--help'], { encoding: 'utf8' });
  expect(help).toContain(`npm run bench -- ${name} [`);
  const wrong = bench(name, '--nonsense');
  expect(wrong).toMatchObject({ status: 64, stdout: '' });
  expect(wrong.stderr).toContain(`npm run bench -- ${name} --help`);
});
