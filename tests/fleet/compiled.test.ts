import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { agreementOf } from '../../workers/fleet/code/agreed-code.ts';
import { AGREEMENT_VARIABLE } from '../../workers/fleet/isolation/agreement.ts';
import { TASK_PROGRAM } from '../../workers/fleet/isolation/child.ts';
import { CodeReader } from '../../workers/fleet/code/code-graph.ts';
import { programsBeside, withoutMeta, withPackages } from '../../workers/fleet/code/compiled-source.ts';
import { compiledName } from '../../workers/fleet/code/compiled-name.ts';
import type { FromTask, Loaded } from '../../workers/fleet/isolation/messages.ts';
import type { Task, TaskContext } from '../../workers/tasks/contract.ts';
import { listTasks, taskFile } from '../../workers/tasks/registry.ts';
import { type Fleet, makeFleet } from '../support/fleet.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

const COMPILER = 'workers/fleet/code/compile-task.ts';

function compile(task: string, folder: string, env: Record<string, string> = {}) {
  return spawnSync(process.execPath, [COMPILER, task, folder], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });
}

/** What the process of a task says of the code that it has loaded; it gets no work. */
async function loadedBy(program: string, task: string): Promise<Loaded> {
  const child = spawn(TASK_PROGRAM.command, [program, task], {
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [AGREEMENT_VARIABLE]: agreementOf() },
  });
  const { resolve, reject, promise } = Promise.withResolvers<Loaded>();
  child.on('message', (message: FromTask) => {
    if (message.kind === 'loaded') resolve(message);
  });
  child.once('close', (code) => reject(new Error(`${task}: ended with ${code} and loaded nothing`)));
  try {
    return await promise;
  } finally {
    child.kill('SIGKILL');
  }
}

test.each(listTasks())('%s is brought together, and says of itself what its source says', async (task) => {
  const folder = (await makePlace()).dir('compiled');
  const made = compile(task, folder);
  expect(made.stderr).toBe('');
  const [name = ''] = readdirSync(folder);
  expect(name).toBe(compiledName(task, taskFile(task), new CodeReader()));
  const parts = readdirSync(join(folder, name)).filter(
    (part) => part.endsWith('.cjs') && part !== 'task.cjs',
  );
  const load = 'for (const part of process.argv.slice(1)) require(part)';
  const loaded = spawnSync(process.execPath, ['-e', load, ...parts.map((part) => join(folder, name, part))], {
    encoding: 'utf8',
  });
  expect(loaded).toMatchObject({ status: 0, stderr: '' });
  const source = TASK_PROGRAM.args[0] ?? '';
  expect(await loadedBy(join(folder, name, 'task.cjs'), task)).toEqual(await loadedBy(source, task));
});

const TASK = `
  import { existsSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
  import { Worker } from 'node:worker_threads';
  import { word } from './a-word.ts';
  export const task = {
    description: 'says what runs, and what a thread and a late import say',
    run: async ({ dataset_id, kwargs, log }) => {
      log.info('at work');
      if (kwargs.fails) throw new Error('on purpose');
      while (!existsSync(kwargs.go)) await sleep(10);
      const thread = new Worker(new URL('./a-thread.ts', import.meta.url));
      const said = await new Promise((resolve) => thread.once('message', resolve));
      const { late } = await import('./late-word.ts');
      return [dataset_id, process.argv[1].endsWith('/task.cjs'), word, late, said, import.meta.dirname];
    },
  };`;
const THREAD = `
  import { parentPort } from 'node:worker_threads';
  import { late } from './late-word.ts';
  parentPort?.postMessage(late);`;

async function speaking(settings: Parameters<typeof makeFleet>[0] = {}) {
  const fleet = await makeFleet(settings);
  const folder = fleet.place.dir('tasks');
  const cache = fleet.place.dir('cache');
  const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  write('speak.ts', TASK);
  write('a-word.ts', "export const word: string = 'old';");
  write('late-word.ts', "export const late: string = 'old';");
  write('a-thread.ts', THREAD);
  const env = { LONGSHORE_TASKS_PATH: folder, NODE_COMPILE_CACHE: cache };
  const worker = await fleet.worker(env);
  const go = fleet.place.path('go');
  writeFileSync(go, '');
  const start = async (kwargs: Record<string, unknown> = {}): Promise<string> => {
    const steps = [{ name: 'one', task: 'speak', kwargs: { go, ...kwargs } }];
    const options = { initiator: 'test', dataset_id: await fleet.dataset() };
    return (await fleet.engine.start({ name: 'talk', steps }, options)).id;
  };
  return { fleet, folder, cache: join(cache, 'tasks'), write, start, worker, env };
}

async function runOf(fleet: Fleet, id: string) {
  const run = (await fleet.reaches(id, 'SUCCESS')).steps[0]?.last_task_run;
  const attempts = await fleet.store.records.attempts(run?._id ?? '');
  const [compiled, ...said] = ((run?.result ?? []) as unknown[]).slice(1);
  return { compiled, said, attempts };
}

test('code that is started often is brought together, with its threads and late imports; a change is met at once', async () => {
  const { fleet, folder, cache, write, start, worker } = await speaking();
  const first = await runOf(fleet, await start());
  expect(first.compiled).toBe(false);
  await Promise.all(Array.from({ length: 5 }, async () => runOf(fleet, await start())));
  await until(() => existsSync(cache) && readdirSync(cache).some((name) => /^speak-\w+$/.test(name)), {
    what: 'the code of the task in one place',
  });
  const together = await runOf(fleet, await start());
  expect(together.compiled).toBe(true);
  expect(together.said).toEqual(['old', 'old', 'old', folder]);
  expect(together.attempts[0]?.code).toEqual(first.attempts[0]?.code);

  const failing = await start({ fails: true });
  const failed = await until(async () => (await fleet.engine.show(failing)).steps[0]?.last_task_run, {
    what: 'the attempt that fails',
  });
  const error = await until(async () => (await fleet.store.records.attempts(failed._id))[0]?.error ?? null, {
    what: 'its error',
  });
  expect(error.traceback).toContain(`${join(folder, 'speak.ts')}:10:`);

  await fleet.engine.revoke(failing, { actor: 'test' });
  write('late-word.ts', "export const late: string = 'new';");
  const changed = await runOf(fleet, await start());
  expect(changed).toMatchObject({ compiled: false, said: ['old', 'new', 'new', folder] });
  expect(changed.attempts[0]?.code?.digest).not.toBe(first.attempts[0]?.code?.digest);
  expect(worker.log()).not.toContain('starts from its source only');
});

test('an attempt that runs keeps the code of its threads and late imports when their files change', async () => {
  const { fleet, folder, cache, write, start, worker, env } = await speaking();
  expect(compile('speak', cache, env).status).toBe(0);
  const waits = fleet.place.path('later');
  const id = await start({ go: waits });
  await until(() => worker.log().includes('at work'), { what: 'the attempt at work' });
  write('late-word.ts', "export const late: string = 'new';");
  writeFileSync(waits, '');
  expect(await runOf(fleet, id)).toMatchObject({ compiled: true, said: ['old', 'old', 'old', folder] });
});

test('what was brought together and is damaged costs no attempt: its source runs', async () => {
  const { fleet, cache, start, env } = await speaking();
  expect(compile('speak', cache, env).status).toBe(0);
  expect((await runOf(fleet, await start())).compiled).toBe(true);
  const [name = ''] = readdirSync(cache);
  truncateSync(join(cache, name, 'task.cjs'));
  const { compiled, attempts } = await runOf(fleet, await start());
  expect([compiled, attempts.length]).toEqual([false, 1]);
});

test('what nobody has used for a month goes, and what was left half-written for an hour', async () => {
  const folder = (await makePlace()).dir('compiled');
  const aged = (name: string, hours: number): void => {
    const path = join(folder, name);
    mkdirSync(path);
    writeFileSync(join(path, 'task.cjs'), '');
    const then = new Date(Date.now() - hours * 3_600_000);
    utimesSync(path, then, then);
  };
  aged('speak-1', 31 * 24);
  aged('speak-2', 29 * 24);
  aged('speak-3.1.new', 2);
  aged('speak-4.1.new', 0.5);
  expect(compile('await_stability', folder).status).toBe(0);
  const left = readdirSync(folder).filter((name) => name.startsWith('speak'));
  expect(left.toSorted()).toEqual(['speak-2', 'speak-4.1.new']);
});

test('what Node has compiled more than 90 days ago goes with it, since Node clears nothing', async () => {
  const place = await makePlace();
  const [folder, version] = [place.dir('cache', 'tasks'), place.dir('cache', 'v24.0.0-x64-0123-0')];
  const aged = (path: string, days: number): void => {
    const then = new Date(Date.now() - days * 86_400_000);
    utimesSync(path, then, then);
  };
  for (const [name, days] of Object.entries({ old: 91, young: 89 })) {
    writeFileSync(join(version, name), '');
    aged(join(version, name), days);
  }
  const empty = place.dir('cache', 'v22.0.0-x64-0123-0');
  aged(empty, 91);
  expect(compile('await_stability', folder).status).toBe(0);
  expect(readdirSync(version)).toEqual(['young']);
  expect(existsSync(empty)).toBe(false);
});

test('reload.compile_tasks false: every process runs its source', async () => {
  const { fleet, cache, start, env } = await speaking({ reload: { compile_tasks: false } });
  expect(compile('speak', cache, env).status).toBe(0);
  expect((await runOf(fleet, await start())).compiled).toBe(false);
});

test.each([
  [
    'asks for more of its module',
    'export const x = import.meta.resolve("./y.ts");',
    'uses import.meta.resolve',
  ],
  ['imports a package that is not of this checkout', "import x from 'there-is-none';", 'there-is-none'],
  ['waits at its top level', 'await Promise.resolve();', 'top-level await'],
  ['imports what is no TypeScript', "import data from './data.json' with { type: 'json' };", 'data.json'],
])('a task that %s is left at its source, and the reason is told', async (_what, line, reason) => {
  const place = await makePlace();
  const folder = place.dir('tasks');
  writeFileSync(join(folder, 'data.json'), '{}');
  writeFileSync(join(folder, 'odd.ts'), `${line}\nexport const task = { run: () => [1] };`);
  const made = compile('odd', place.dir('compiled'), { LONGSHORE_TASKS_PATH: folder });
  expect(made.status).not.toBe(0);
  expect(made.stderr).toContain(reason);
  expect(readdirSync(place.path('compiled'))).toEqual([]);
});

test('a text keeps the place of its file, and names what lies beside it by its new name', () => {
  const text = `
    new Worker(new URL('./thread.ts', import.meta.url), { name: import.meta.filename });
    const log = createRequire(import.meta.url)('../log.ts');
    const pretty = createRequire(import.meta.url)('pino-pretty');`;
  const files = new Map([
    ['/x/y/z.ts', text],
    ['/x/y/thread.ts', ''],
    ['/x/log.ts', ''],
  ]);
  const { threads, modules } = programsBeside(files);
  expect([...threads.keys(), ...modules.keys()]).toEqual(['/x/y/thread.ts', '/x/log.ts']);
  const beside = new Map([
    ['/x/y/thread.ts', 'a'],
    ['/x/log.ts', 'b'],
  ]);
  expect(withoutMeta('/x/y/z.ts', text, beside)).toBe(`
    new Worker(new URL("./a.mjs", import.meta.url), { name: "/x/y/z.ts" });
    const log = createRequire(import.meta.url)("./b.cjs");
    const pretty = createRequire("file:///x/y/z.ts")('pino-pretty');`);
});

test('packages of both kinds, names that CommonJS keeps for itself and calls of import mean what they mean in the source', async () => {
  const place = await makePlace();
  const [tasks, folder] = [place.dir('tasks'), place.dir('compiled')];
  const text = `
    import { createRequire } from 'node:module';
    import got, { HTTPError } from 'got';
    import pino, * as all from 'pino';
    const require = createRequire(import.meta.url);
    const [module, exports] = [{ name: 'module' }, 'exports'];
    export const task = {
      run: async ({ kwargs }) => {
        const later = await import(kwargs.name);
        const { default: called } = await import('got');
        return [module.name, exports, require('node:path') === later.default, called === got, typeof got.get,
          HTTPError.name, typeof pino, typeof all.levels, all.default === pino, (function () { return this; })()];
      },
    };`;
  writeFileSync(join(tasks, 'odd.ts'), text);
  expect(compile('odd', folder, { LONGSHORE_TASKS_PATH: tasks }).stderr).toBe('');
  const [name = ''] = readdirSync(folder);
  const part = readdirSync(join(folder, name)).find((file) => /^odd-.*\.cjs$/.test(file));
  const said = async (path: string): Promise<unknown> => {
    const { task } = (await import(path)) as { task: Task };
    return task.run({ kwargs: { name: 'node:path' } } as unknown as TaskContext);
  };
  const meant = [
    'module',
    'exports',
    true,
    true,
    'function',
    'HTTPError',
    'function',
    'object',
    true,
    undefined,
  ];
  expect(await said(join(tasks, 'odd.ts'))).toEqual(meant);
  expect(await said(join(folder, name, part ?? ''))).toEqual(meant);
});

test('what a package gives is what an import of it gives, and only in lines of the bundler', () => {
  const code = [
    'let pino = require("/x/pino.js");',
    'pino = __toESM(pino);',
    'let got = require("/x/got.js"), text = `got = __toESM(other);`;',
    'got = require_task.__toESM(got, 1);',
  ];
  const unless = (name: string): string =>
    `if (!process.getBuiltinModule("node:util").types.isModuleNamespaceObject(${name}))`;
  expect(withPackages(code.join('\n')).split('\n')).toEqual([
    code[0],
    `${unless('pino')} pino = __toESM(pino, 1);`,
    code[2],
    `${unless('got')} got = require_task.__toESM(got, 1);`,
  ]);
});
