import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CodeReader, importsOf } from '../../workers/fleet/code/code-graph.ts';
import { commitOf } from '../../workers/fleet/code/code-version.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const TASK = `
  import { existsSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { word } from './a-word.ts';
  export const task = {
    description: 'says a word, and one that it imports only when it has to',
    run: async ({ dataset_id, kwargs, log }) => {
      log.info('at work');
      while (!existsSync(kwargs.go)) await sleep(10);
      const { late } = await import('./late-word.ts');
      return [dataset_id, word, late];
    },
  };`;
const word = (text: string): string => `export const word: string = '${text}';`;
const late = (text: string): string => `export const late: string = '${text}';`;

async function speaking() {
  const fleet = await makeFleet();
  const folder = fleet.place.dir('tasks');
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  write('speak.ts', TASK);
  write('a-word.ts', word('old'));
  write('late-word.ts', late('old'));
  const worker = await fleet.worker({ LONGSHORE_TASKS_PATH: folder });
  const go = fleet.place.path('go');
  const start = async (): Promise<string> => {
    const steps = [{ name: 'one', task: 'speak', kwargs: { go } }];
    return (
      await fleet.engine.start(
        { name: 'talk', steps },
        { initiator: 'test', dataset_id: await fleet.dataset() },
      )
    ).id;
  };
  return { fleet, worker, folder, write, go, start };
}

async function saidBy(fleet: Fleet, id: string) {
  const run = (await fleet.reaches(id, 'SUCCESS')).steps[0]?.last_task_run;
  const attempts = await fleet.store.records.attempts(run?._id ?? '');
  return { words: (run?.result as unknown[] | undefined)?.slice(1), code: attempts.at(-1)?.code };
}

test('a changed file that a task imports is used by the next job, while one in flight keeps its code to its last import', async () => {
  const { fleet, worker, write, go, start } = await speaking();
  const before = await start();
  await until(() => worker.log().includes('at work'), { what: 'the first job at work' });
  write('a-word.ts', word('new'));
  write('late-word.ts', late('new'));
  const after = await start();
  await until(() => worker.log().split('at work').length === 3, { what: 'the second job at work' });
  writeFileSync(go, '');
  const [first, second] = [await saidBy(fleet, before), await saidBy(fleet, after)];
  expect(first.words).toEqual(['old', 'old']);
  expect(second.words).toEqual(['new', 'new']);
  expect(first.code?.digest).not.toBe(second.code?.digest);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(second.code?.package).toBe(version);
});

test('the same code has the same version, and a half-saved task is a retry with its version, not a loss', async () => {
  const { fleet, folder, write, go, start } = await speaking();
  writeFileSync(go, '');
  const version = (await saidBy(fleet, await start())).code;
  expect(version?.digest).toBe(new CodeReader().graph(join(folder, 'speak.ts')).digest);
  write('a-word.ts', 'export const word: string = ');
  const id = await start();
  const failing = await until(async () => {
    const run = (await fleet.engine.show(id)).steps[0]?.last_task_run;
    return run?.status === 'RETRY' ? run : null;
  });
  write('a-word.ts', word('old'));
  expect((await saidBy(fleet, id)).code).toEqual(version);
  const [first] = await fleet.store.records.attempts(failing._id);
  expect(first).toMatchObject({ outcome: 'retry', error: { code: 'E_TASK_CRASHED' } });
  expect(first?.code?.digest).not.toBe(version?.digest);
});

test('imports are found however they are written, and those of types alone are none', () => {
  const text = `
    // Why we import type by type: see './no-file.ts'
    import './a.ts';
    import { b } from "../b.ts";
    import {
      c,
    } from './c.ts';
    export * from './d.ts';
    import type { T } from './types.ts';
    import { join } from 'node:path';
    const e = await import('./e.ts');`;
  const found = importsOf('/x/y/z.ts', text).filter((file) => !file.endsWith('no-file.ts'));
  expect(found).toEqual(['/x/y/a.ts', '/x/b.ts', '/x/y/c.ts', '/x/y/d.ts', '/x/y/e.ts']);
});

test('a version follows every file of the graph, and not where the file lies', async () => {
  const place = await makePlace();
  const folder = place.dir('code');
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  write('one.ts', "import './two.ts';");
  write('two.ts', "import './one.ts';\nexport const two = 2;");
  const reader = new CodeReader();
  const first = reader.graph(join(folder, 'one.ts'));
  expect([...first.files.keys()].map((file) => file.slice(-6))).toEqual(['one.ts', 'two.ts']);
  write('two.ts', "import './one.ts';\nexport const two = 3;");
  const second = reader.graph(join(folder, 'one.ts'));
  expect(second.digest).not.toBe(first.digest);
  expect(new CodeReader().graph(join(folder, 'one.ts')).digest).toBe(second.digest);
});

test('the commit is the one that git names, in a first and a further work tree, detached and packed', async () => {
  const place = await makePlace();
  const [repo, tree] = [place.dir('repo'), place.path('tree')];
  const git = (cwd: string, ...args: string[]): string =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], {
      cwd,
      encoding: 'utf8',
    }).trim();
  git(repo, 'init', '-q');
  expect(commitOf(repo)).toBeNull();
  git(repo, 'commit', '-q', '--allow-empty', '-m', 'one');
  expect(commitOf(repo)).toBe(git(repo, 'rev-parse', 'HEAD'));
  git(repo, 'worktree', 'add', '-q', tree, '-b', 'other');
  git(tree, 'commit', '-q', '--allow-empty', '-m', 'two');
  expect(commitOf(tree)).toBe(git(tree, 'rev-parse', 'HEAD'));
  git(repo, 'pack-refs', '--all');
  expect(commitOf(tree)).toBe(git(tree, 'rev-parse', 'HEAD'));
  git(tree, 'checkout', '-q', '--detach');
  expect(commitOf(tree)).toBe(git(tree, 'rev-parse', 'HEAD'));
  expect(commitOf(place.dir('none'))).toBeNull();
});
