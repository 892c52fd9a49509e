import { type ChildProcess, spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makePlace } from '../support/place.ts';
import { startScript } from '../support/processes.ts';

const root = join(import.meta.dirname, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** Files that the README asks a newcomer to write: a path in backticks with a colon, and the block below it. */
const files = [...readme.matchAll(/^`([\w/.-]+)`:\n\n```ts\n([\s\S]*?)```/gm)].map(
  ([, path = '', text = '']) => ({
    path,
    text,
  }),
);

/** What it asks to run for them. */
const commands = [...readme.matchAll(/^ {4}((?:APP_ENV=\w+ )?npm run (?:enqueue-test|config) -- .*)$/gm)].map(
  ([, line = '']) => line.trim(),
);

test('what the README says of adding a task, a workflow and an environment works as it stands there', async () => {
  expect(files.map(({ path }) => path)).toEqual(['workers/tasks/count_suffixes.ts', 'config/mylab.ts']);
  expect(commands).toHaveLength(3);
  const place = await makePlace();
  const checkout = place.dir('checkout');
  for (const part of ['config', 'workers', 'scripts', 'package.json', 'package-lock.json']) {
    cpSync(join(root, part), join(checkout, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'));
  for (const { path, text } of files) writeFileSync(join(checkout, path), text);

  const { APP_ENV: _test, ...env } = place.env;
  // A command that comes before the workers is refused, which is right, and not what is asked here.
  await Promise.all(
    ['local', 'mylab'].map((APP_ENV) =>
      saysReady(startScript('workers/worker.ts', { ...env, APP_ENV, LOG_LEVEL: 'info' }, { checkout })),
    ),
  );
  for (const command of commands) {
    const result = spawnSync('sh', ['-c', command], {
      cwd: checkout,
      env: { ...process.env, ...env, APP_ENV: 'local', INIT_CWD: checkout },
      encoding: 'utf8',
    });
    expect(result.status, `${command}\n${result.stdout}${result.stderr}`).toBe(0);
    if (command.includes('enqueue-test')) expect(result.stdout).toMatch(/SUCCESS|done/);
  }
});

const saysReady = (worker: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    worker.stdout?.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes('worker ready')) resolve();
    });
  });

test('every file and command that the README and the documents name exists', () => {
  const pages = [
    readme,
    ...['architecture', 'tasks', 'workflows', 'operations', 'fleet', 'testing', 'promises'].map(page),
  ];
  const scripts = (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object })
    .scripts;
  for (const text of pages) {
    for (const [, path = ''] of text.matchAll(
      /`((?:tests|workers|scripts|config|docs|bench)\/[\w/.-]*[\w/])`/g,
    )) {
      if (!files.some((file) => file.path === path)) expect(existsSync(join(root, path)), path).toBe(true);
    }
    for (const [, link = ''] of text.matchAll(/\]\(([\w/.-]+\.(?:md|svg))\)/g)) {
      const found = [link, join('docs', link)].some((path) => existsSync(join(root, path)));
      expect(found, link).toBe(true);
    }
    for (const [, name = ''] of text.matchAll(/npm run ([a-z-]+)/g)) expect(scripts).toHaveProperty([name]);
  }
});

test('every test that the page of promises names exists', () => {
  const rows = [...page('promises').matchAll(/^\|.*\| `(tests\/[\w/.-]+)` (.+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(70);
  for (const [, file = '', title = ''] of rows) {
    const titles = readFileSync(join(root, file), 'utf8').match(/(['"`])(?:(?!\1).|\\.)*\1/g) ?? [];
    expect(
      titles.some((text) => text.includes(title)),
      `${file}: ${title}`,
    ).toBe(true);
  }
});

const page = (name: string): string => readFileSync(join(root, 'docs', `${name}.md`), 'utf8');
