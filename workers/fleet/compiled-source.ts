/** How the text of a file is read where it no longer lies beside the files that it names. */
import { isBuiltin } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from './compiled-name.ts';

const PACKAGES = join(ROOT, 'node_modules') + sep;

/** Files that another one names by their place beside it. */
const BESIDE =
  /\b(new URL\(\s*|createRequire\(import\.meta\.url\)\(\s*)(['"])(\.{1,2}\/[^'"\n]+\.ts)\2(\s*,\s*import\.meta\.url)?/g;
const META = /\bimport\.meta\b(?:\.(\w+))?/g;

/** Both by path: what they are called without their suffix. */
export interface ProgramsBeside {
  readonly threads: ReadonlyMap<string, string>;
  /** Loaded by a call at their first need. */
  readonly modules: ReadonlyMap<string, string>;
}

export function programsBeside(files: ReadonlyMap<string, string>): ProgramsBeside {
  const threads = new Map<string, string>();
  const modules = new Map<string, string>();
  for (const [path, text] of files) {
    for (const [, call = '', , target = ''] of text.matchAll(BESIDE)) {
      const file = join(dirname(path), target);
      if (files.has(file)) (call.startsWith('new URL') ? threads : modules).set(file, nameOf(file));
    }
  }
  return { threads, modules };
}

const nameOf = (file: string): string => relative(ROOT, file).replaceAll(sep, '-').slice(0, -'.ts'.length);

/**
 * The text with the place that its file had, and with the names of the programs that lie beside it now.
 * @param beside threads and modules of {@link programsBeside}
 */
export function withoutMeta(path: string, text: string, beside: ReadonlyMap<string, string>): string {
  let copied = '';
  let at = 0;
  for (const match of text.matchAll(BESIDE)) {
    const [whole, call, , target = '', after = ''] = match;
    const name = beside.get(join(dirname(path), target));
    if (name === undefined) continue;
    copied += `${placed(path, text.slice(at, match.index))}${call}"./${name}.mjs"${after}`;
    at = match.index + whole.length;
  }
  return copied + placed(path, text.slice(at));
}

/** @throws when the file asks for something else of its module */
function placed(path: string, text: string): string {
  return text.replaceAll(META, (_, property: string | undefined) => {
    switch (property) {
      case 'url':
        return JSON.stringify(pathToFileURL(path).href);
      case 'filename':
        return JSON.stringify(path);
      case 'dirname':
        return JSON.stringify(dirname(path));
      default:
        throw new Error(`${path} uses import.meta${property === undefined ? '' : `.${property}`}`);
    }
  });
}

/**
 * Where an import leads: a file that was read, or what stays outside. Null: a package, to be looked up.
 * @param resolved where the package was found; null when it was not
 * @throws when it leads to anything else, which might be another file tomorrow
 */
export function importOf(
  source: string,
  importer: string | undefined,
  files: ReadonlyMap<string, string>,
  resolved?: string | null,
): { id: string; external: boolean } | null {
  if (isBuiltin(source)) return { id: source, external: true };
  const path = source.startsWith('.') ? join(dirname(importer ?? ''), source) : source;
  if (files.has(path) && path.endsWith('.ts')) return { id: path, external: false };
  if (resolved === undefined) return null;
  if (resolved?.startsWith(PACKAGES)) return { id: pathToFileURL(resolved).href, external: true };
  throw new Error(`${importer} imports ${source}, which is no TypeScript file and no package of ${PACKAGES}`);
}

const BUILTIN = /^import (?:\* as (\w+)|(\w+)|(\w+, )?\{ (.+) \}) from "(node:[\w/]+)";$/;

/**
 * An import of a built-in module of Node copies all that it exports, which loads those parts of it that nobody asked for:
 * of `node:fs` alone the streams and promises, a twentieth of the start of a process. What such a line binds is as good
 * from the module itself. Line by line, for the source map.
 *
 * @param code a file as the bundler writes it, with its imports first
 */
export function withPlainBuiltins(code: string): string {
  const lines = code.split('\n');
  const after = lines.findIndex((line) => !line.startsWith('import '));
  const head = lines.slice(0, after).map((line) => {
    if (/^import "node:[\w/]+";$/.test(line)) return ''; // For what was left out as unused.
    const [, all, module, both, names = '', from] = BUILTIN.exec(line) ?? [];
    const bound = all ?? module ?? (both === undefined ? `{ ${names.replaceAll(' as ', ': ')} }` : undefined);
    return from === undefined || bound === undefined
      ? line
      : `const ${bound} = process.getBuiltinModule("${from}");`;
  });
  // What is no import ends the imports, so the built-in modules come after them.
  return [...head.filter(isImport), ...head.filter((line) => !isImport(line)), ...lines.slice(after)].join(
    '\n',
  );
}

const isImport = (line: string): boolean => line.startsWith('import ');
