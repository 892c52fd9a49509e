/** How the text of a file is read where it no longer lies beside the files that it names. */
import { isBuiltin } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, SUFFIX } from './compiled-name.ts';

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
      if (files.has(file)) (isThread(call) ? threads : modules).set(file, nameOf(file));
    }
  }
  return { threads, modules };
}

const isThread = (call: string): boolean => call.startsWith('new URL');
const nameOf = (file: string): string => relative(ROOT, file).replaceAll(sep, '-').slice(0, -'.ts'.length);

/**
 * The text with the place that its file had, and with the names of the programs that lie beside it now.
 * @param beside threads and modules of {@link programsBeside}
 */
export function withoutMeta(path: string, text: string, beside: ReadonlyMap<string, string>): string {
  let copied = '';
  let at = 0;
  for (const match of text.matchAll(BESIDE)) {
    const [whole, call = '', , target = '', after = ''] = match;
    const name = beside.get(join(dirname(path), target));
    if (name === undefined) continue;
    const suffix = isThread(call) ? SUFFIX.esm : SUFFIX.cjs;
    copied += `${placed(path, text.slice(at, match.index))}${call}"./${name}${suffix}"${after}`;
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
 * @param found where the package is, null when there is none; and whether it is required, which takes no URL
 * @throws when it leads to anything else, which might be another file tomorrow
 */
export function importOf(
  source: string,
  importer: string | undefined,
  files: ReadonlyMap<string, string>,
  found?: { readonly package: string | null; readonly required: boolean },
): { id: string; external: boolean } | null {
  if (isBuiltin(source)) return { id: source, external: true };
  const path = source.startsWith('.') ? join(dirname(importer ?? ''), source) : source;
  if (files.has(path) && path.endsWith('.ts')) return { id: path, external: false };
  if (found === undefined) return null;
  const { package: place, required } = found;
  if (place?.startsWith(PACKAGES))
    return { id: required ? place : pathToFileURL(place).href, external: true };
  throw new Error(`${importer} imports ${source}, which is no TypeScript file and no package of ${PACKAGES}`);
}

const OF_PACKAGE = /^([\w$]+) = ((?:[\w$]+\.)?__toESM)\(\1(?:, 1)?\);$/gm;

/**
 * What is imported of a package is the same as without the bundler, which takes all that it requires for CommonJS that was
 * made from something else: a namespace as it is, and of CommonJS the whole as its default. Each within its line, for the
 * source map.
 *
 * @param code a file as the bundler writes it
 */
export const withPackages = (code: string): string =>
  code.replaceAll(
    OF_PACKAGE,
    (_, name: string, toModule: string) =>
      `if (!process.getBuiltinModule("node:util").types.isModuleNamespaceObject(${name})) ${name} = ${toModule}(${name}, 1);`,
  );
