/**
 * Brings the code of one task together into a few files: `compile-task.ts TASK FOLDER`, started by a worker. Node's loader
 * takes 0.7 ms for each of the some fifty files that a task's process begins with, half of what the process costs; brought
 * together it begins in little more than half the time. Not minified, and packages stay where they are.
 *
 * They are CommonJS: Node loads that without a promise for each file and each package, and a built-in module without a copy
 * of all it exports (a sixth of a process, against the same code as ES modules; a snapshot of the heap was slower than
 * either). What waits at its top level cannot be such a file, and runs from its source.
 *
 * What is written is a copy of the code for a cache: it is named by the digest of all that it was made of, and a process
 * runs the source whenever there is no such copy.
 */
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { type ChunkingContext, type Plugin, rolldown } from 'rolldown';
import { taskFile } from '../../tasks/registry.ts';
import { agreementOf } from './agreed-code.ts';
import { importOf, programsBeside, withPackages, withoutMeta } from './compiled-source.ts';
import { COMPILED_PARTS, compiledName, ENTRY, SUFFIX } from './compiled-name.ts';
import { CodeReader } from './code-graph.ts';
import { makeFolders } from '../../folders.ts';

const [task = '', folder = ''] = process.argv.slice(2);
/** Long after the last attempt that ran from it, which may load a part of it at its very end. */
const UNUSED_MS = 30 * 24 * 60 * 60 * 1000;
/** Of one that was killed while it wrote. */
const UNFINISHED_MS = 60 * 60 * 1000;
/** Folders in which Node keeps what it has compiled. */
const NODE_VERSION = /^v\d+\.\d+\.\d+-/;
/** It does not tell what of that it uses. */
const OLD_MS = 90 * 24 * 60 * 60 * 1000;

/** @throws when the code is of a kind that runs from its source only, saying which */
async function compile(file: string): Promise<void> {
  const reader = new CodeReader();
  const { files } = reader.graph(file, ...COMPILED_PARTS);
  const { threads, modules } = programsBeside(files);
  const place = join(folder, compiledName(task, file, reader));
  const made = `${place}.${process.pid}.new`;
  const entry = entryOf(file, { digest: reader.graph(file).digest, agreement: agreementOf(reader) });
  const texts = { files, beside: new Map([...threads, ...modules]), entry };
  makeFolders(folder);
  try {
    await build(made, { [ENTRY]: ENTRY, ...byName(modules) }, texts, 'cjs');
    // Each by itself: what it shares with others it has to load anew in any case, and in one piece. ES modules, since a
    // thread waits for its work at its top level, and costs four times as much as the files it begins with.
    for (const [path, name] of threads) await build(made, { [name]: `${THREAD}${path}` }, texts, 'esm');
    publish(made, place);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
  removeUnused();
  try {
    removeOldCode();
  } catch {
    // Another user's; that user's workers clear it.
  }
}

const byName = (programs: ReadonlyMap<string, string>): Record<string, string> =>
  Object.fromEntries([...programs].map(([path, name]) => [name, path]));

type Format = keyof typeof SUFFIX;

/** Nothing but what was digested. */
interface Texts {
  /** By path. */
  readonly files: ReadonlyMap<string, string>;
  readonly beside: ReadonlyMap<string, string>;
  /** Of the file that a process is started with. */
  readonly entry: string;
}

async function build(
  dir: string,
  input: Record<string, string>,
  texts: Texts,
  format: Format,
): Promise<void> {
  const suffix = SUFFIX[format];
  const bundler = await rolldown({
    input,
    platform: 'node',
    // As Node strips types, and nothing else: no file of the site changes what its code means.
    tsconfig: false,
    transform: { target: 'esnext', typescript: { onlyRemoveTypeImports: true } },
    resolve: {
      conditionNames: ['node', 'import', 'module-sync', 'node-addons', 'default'],
      mainFields: ['main'],
    },
    plugins: [fromTexts(texts, format)],
    logLevel: 'silent',
  });
  try {
    await bundler.write({
      dir,
      format,
      strict: true,
      sourcemap: 'hidden',
      sourcemapPathTransform: (source, map) => resolve(dirname(map), source),
      entryFileNames: `[name]${suffix}`,
      chunkFileNames: `[name]-[hash]${suffix}`,
      // Else there is a file for each set of parts that share something with the entry.
      codeSplitting: { groups: [{ name: (id, context) => (isOfStart(id, context) ? 'start' : null) }] },
    });
  } finally {
    await bundler.close();
  }
}

/** What every process of the task begins with, but for the line that begins. */
function isOfStart(id: string, context: ChunkingContext): boolean {
  const found = new Set([ENTRY]);
  for (const at of found) for (const next of context.getModuleInfo(at)?.importedIds ?? []) found.add(next);
  return id !== ENTRY && found.has(id);
}

const fromHere = (path: string): string => JSON.stringify(join(import.meta.dirname, path));

const TRACED = `import { traceToSource } from ${fromHere('compiled-trace.ts')}; traceToSource();`;
const THREAD = 'thread:';

/**
 * The task itself is loaded after the engine, so that what is wrong with it is told as the task's. The store of a fleet
 * without a server is small, and is not worth a file of its own; the others bring packages, next to which it is nothing.
 */
const entryOf = (file: string, { digest, agreement }: { digest: string; agreement: string }): string => `
  import ${fromHere('../../store-sqlite.ts')};
  import { endUnlessAgreed } from ${fromHere('../isolation/agreement.ts')};
  import { runAttempts } from ${fromHere('../isolation/task-attempts.ts')};
  import { versionOf } from ${fromHere('code-version.ts')};
  import { taskOf } from ${fromHere('../../tasks/contract.ts')};
  ${TRACED}
  const [name, file] = ${JSON.stringify([task, file])};
  endUnlessAgreed(${JSON.stringify(agreement)});
  runAttempts(name, {
    version: () => versionOf(${JSON.stringify(digest)}),
    load: async () => taskOf(name, file, await import(${JSON.stringify(file)})),
  });`;

function fromTexts({ files, beside, entry }: Texts, format: Format): Plugin {
  return {
    name: 'longshore',
    resolveId: {
      order: 'pre',
      async handler(source, importer, { kind }) {
        if (source === ENTRY || source.startsWith(THREAD)) return source;
        const found = importOf(source, importer, files);
        if (found !== null) return found;
        const resolved = await this.resolve(source, importer, { skipSelf: true });
        const required = format === 'cjs' && kind !== 'dynamic-import';
        return importOf(source, importer, files, { package: resolved?.id ?? null, required });
      },
    },
    renderChunk: (code) => withPackages(code),
    load: (id) => {
      if (id === ENTRY) return { code: entry, moduleType: 'js' };
      if (id.startsWith(THREAD))
        return { code: `import ${JSON.stringify(id.slice(THREAD.length))}; ${TRACED}`, moduleType: 'js' };
      return { code: withoutMeta(id, files.get(id) ?? '', beside), moduleType: 'ts' };
    },
  };
}

/** Whole or not at all, also after a power failure; another worker may have been faster. */
function publish(made: string, place: string): void {
  for (const name of [...readdirSync(made), '.']) {
    const fd = openSync(join(made, name), 'r');
    fsyncSync(fd);
    closeSync(fd);
  }
  try {
    renameSync(made, place);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}

function removeUnused(): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (ageOf(path) > (name.endsWith('.new') ? UNFINISHED_MS : UNUSED_MS))
      rmSync(path, { recursive: true, force: true });
  }
}

/**
 * What Node keeps of code that it has compiled, beside us, it never clears: what was brought together has other names with
 * each change, and each Node a folder of its own. What goes and is still used is compiled anew by its next start.
 */
function removeOldCode(): void {
  const beside = dirname(folder);
  for (const version of readdirSync(beside).filter((name) => NODE_VERSION.test(name))) {
    const path = join(beside, version);
    const files = readdirSync(path).map((name) => join(path, name));
    for (const file of files) if (ageOf(file) > OLD_MS) rmSync(file, { force: true });
    if (files.length === 0 && ageOf(path) > OLD_MS) rmSync(path, { recursive: true, force: true });
  }
}

const ageOf = (path: string): number =>
  Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());

await compile(realpathSync(taskFile(task)));
