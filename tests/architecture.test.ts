import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERRORS } from '../workers/errors.ts';

const root = join(import.meta.dirname, '..');

/**
 * Who may import whom below workers/: the arrows of docs/architecture.md. `errors`, `folders`, `log`, `near-name`,
 * `no-space`, `process-start`, `redis-answer`, `socket-failure`, `trouble` and config/ are open to all;
 * scripts/ stand at the top and may import everything.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: ['redis-answer'],
  folders: [],
  'near-name': [],
  'no-space': [],
  'process-start': [],
  'redis-answer': [],
  'socket-failure': [],
  trouble: [],
  log: ['log-file', 'log-text'],
  'log-file': [],
  'log-text': [],
  sqlite: [],
  mongodb: ['sqlite'],
  dataset: ['catalog'],
  bioloop: ['dataset'],
  records: ['sqlite', 'mongodb', 'dataset'],
  catalog: ['sqlite', 'mongodb', 'dataset', 'records', 'bioloop'],
  store: ['catalog', 'records', 'store-sqlite', 'store-mongodb', 'store-rest'],
  'store-sqlite': ['catalog', 'records', 'sqlite', 'store-rest'],
  'store-mongodb': ['catalog', 'records', 'mongodb', 'store-rest'],
  'store-rest': ['bioloop', 'catalog', 'records'],
  content: ['dataset', 'sqlite'],
  archive: ['content', 'dataset', 'tools'],
  tools: ['records', 'tasks'],
  uploads: ['content', 'dataset', 'records', 'bioloop'],
  tasks: ['archive', 'catalog', 'content', 'dataset', 'records', 'tools', 'uploads'],
  queue: ['records'],
  workflows: ['queue', 'records', 'store'],
  fleet: ['workflows', 'queue', 'tasks', 'tools', 'catalog', 'records', 'store'],
  watch: ['workflows', 'catalog', 'dataset', 'records', 'store'],
  gateway: ['workflows', 'records', 'store'],
  worker: ['fleet'],
};

const OPEN_TO_ALL: ReadonlySet<string> = new Set([
  'errors',
  'folders',
  'log',
  'near-name',
  'no-space',
  'process-start',
  'redis-answer',
  'socket-failure',
  'trouble',
]);

/** Of folders that may import each other, only the contracts may be used in this direction. */
const ONLY_CONTRACTS: ReadonlySet<string> = new Set([
  'dataset>catalog',
  'tools>tasks',
  'queue>records',
  'tools>records',
  'uploads>records',
]);

const filesOf = (folder: string): string[] =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file));

const sources = ['config', 'workers', 'scripts'].flatMap(filesOf);

const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');

function importsOf(file: string): string[] {
  const found = textOf(file).matchAll(/(?:from|import\(|import) '(\.[^']+)'/g);
  return [...found].map((match) => normalize(join(dirname(file), match[1] ?? '')));
}

/** `workers/queue/jobs.ts` → `queue`, `workers/store.ts` → `store`. */
const partOf = (file: string): string => (file.split('/')[1] ?? '').replace(/\.ts$/, '');

describe('imports', () => {
  test.each(sources.filter((file) => file.startsWith('workers/')))(
    '%s imports only what its part may',
    (file) => {
      const part = partOf(file);
      const allowed = MAY_IMPORT[part];
      expect(
        allowed,
        `workers/${part} has no place in the architecture; give it one here and in docs/`,
      ).toBeDefined();
      const wrong = importsOf(file).filter((target) => {
        if (target.startsWith('config/')) return false;
        if (!target.startsWith('workers/')) return true;
        const other = partOf(target);
        if (other === part || OPEN_TO_ALL.has(other)) return false;
        if (allowed?.includes(other) !== true) return true;
        return ONLY_CONTRACTS.has(`${part}>${other}`) && !target.endsWith('/contract.ts');
      });
      expect(wrong).toEqual([]);
    },
  );

  test('config/ imports nothing of workers/ but the errors, and nothing of scripts/', () => {
    const wrong = sources
      .filter((file) => file.startsWith('config/'))
      .flatMap((file) => importsOf(file).map((target) => `${file} → ${target}`))
      .filter((arrow) => !/→ (config\/|workers\/errors\.ts)/.test(arrow));
    expect(wrong).toEqual([]);
  });

  test('a task body knows nothing of queues, workers and processes', () => {
    const wrong = sources
      .filter((file) => file.startsWith('workers/tasks/'))
      .flatMap((file) => importsOf(file).map((target) => `${file} → ${target}`))
      .filter((arrow) => /→ workers\/(queue|fleet|workflows)\//.test(arrow));
    expect(wrong).toEqual([]);
  });

  test('no folder has more files than are looked over at once', () => {
    const folders = Map.groupBy(sources, (file) => dirname(file));
    const full = [...folders].filter(([, files]) => files.length > 40).map(([folder]) => folder);
    expect(full).toEqual([]);
  });

  test('every import leads to a file, and none of them in a circle', () => {
    const graph = new Map(sources.map((file) => [file, importsOf(file)]));
    const missing = [...graph].flatMap(([file, targets]) =>
      targets.filter((target) => !existsSync(join(root, target))).map((target) => `${file} → ${target}`),
    );
    expect(missing).toEqual([]);
    expect(circles(graph)).toEqual([]);
  });
});

function circles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const done = new Set<string>();
  const walk = (file: string, way: readonly string[]): void => {
    if (way.includes(file)) found.push([...way.slice(way.indexOf(file)), file].join(' → '));
    if (done.has(file) || way.includes(file)) return;
    for (const next of graph.get(file) ?? []) walk(next, [...way, file]);
    done.add(file);
  };
  for (const file of graph.keys()) walk(file, []);
  return found;
}

test('no file is longer than 400 lines', () => {
  const long = sources
    .map((file) => ({ file, lines: textOf(file).split('\n').length }))
    .filter(({ lines }) => lines > 400);
  expect(long).toEqual([]);
});

test('docs/errors.md has every code of the registry with its class, and no other', () => {
  const page = textOf('docs/errors.md');
  const documented = [...page.matchAll(/^\| `(E_[A-Z_]+)` \| (\w+) \|/gm)].map(
    ([, code, kind]) => `${code} ${kind}`,
  );
  const registered = Object.entries(ERRORS).map(([code, entry]) => `${code} ${entry.class}`);
  expect(documented.sort()).toEqual(registered.sort());
});

/** Of the machine, not of Longshore. */
const OF_THE_SYSTEM = new Set([
  'PATH',
  'HOME',
  'USER',
  'TERM',
  'NO_COLOR',
  'NODE_DISABLE_COLORS',
  'CI',
  'TMPDIR',
  'INIT_CWD',
  'TZ',
  'PM2_HOME',
  'NODE_APP_INSTANCE',
  'NODE_COMPILE_CACHE',
]);

/** Said by a test to a process that it starts. */
const WITHIN_A_TEST = new Set(['TEST_HANG_FILE', 'EXTRA', 'TRACE']);

test('.env.example has every variable that is read, and no other', () => {
  const readers = [...sources, ...filesOf('bench'), ...filesOf('tests'), 'ecosystem.config.js'];
  const used = new Set(
    readers
      .filter((file) => file !== 'tests/architecture.test.ts')
      .flatMap((file) => variablesOf(textOf(file)))
      .filter((name) => !OF_THE_SYSTEM.has(name) && !WITHIN_A_TEST.has(name)),
  );
  const documented = [...textOf('.env.example').matchAll(/^#? ?([A-Z][A-Z0-9_]+)=/gm)].map(
    (match) => match[1] ?? '',
  );
  expect(documented.toSorted()).toEqual([...used].toSorted());
});

test('of what .env may say nothing is read past it', () => {
  const past = sources
    .filter((file) => file !== 'config/env.ts')
    .flatMap((file) =>
      [...textOf(file).matchAll(/process\.env\.([A-Z][A-Z0-9_]+)\b/g)].map((match) => `${file} ${match[1]}`),
    )
    .filter((use) => !OF_THE_SYSTEM.has(use.split(' ')[1] ?? ''));
  expect(past.toSorted()).toEqual([
    // Of the demo, which has an .env of its own.
    'scripts/demo/run.ts LOG_LEVEL',
    // Where .env itself is.
    'workers/fleet/reload/reload.ts LONGSHORE_DOTENV',
    // Under pm2.
    'workers/fleet/routing.ts LONGSHORE_WORKER',
  ]);
});

function variablesOf(text: string): string[] {
  const direct = text.matchAll(/(?:process\.env|\bvalues|\bbase|\benv)\.([A-Z][A-Z0-9_]+)\b/g);
  const configured = text.matchAll(/(?:[fF]romEnv|variable)\(\s*'([A-Z][A-Z0-9_]+)'/g);
  const destructured = [...text.matchAll(/\{([^{}]*)\} = process\.env/g)].flatMap((match) =>
    [...(match[1] ?? '').matchAll(/(?:^|,)\s*([A-Z][A-Z0-9_]+)\b/g)].map((name) => name[1] ?? ''),
  );
  return [...[...direct, ...configured].map((match) => match[1] ?? ''), ...destructured];
}

test('every folder of workers/ stands in docs/architecture.md', () => {
  const page = textOf('docs/architecture.md');
  const folders = readdirSync(join(root, 'workers'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => relative(root, join(root, 'workers', entry.name)));
  expect(folders.filter((folder) => !page.includes(`\`${folder}/\``))).toEqual([]);
});
