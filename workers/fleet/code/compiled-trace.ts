import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

/**
 * Stacks name lines of the source. Node's own way (`--enable-source-maps`) reads the maps of all files when they are
 * loaded, a sixth of what a process costs; here they are read when the first stack is asked for.
 */
export function traceToSource(): void {
  const maps = new Map<string, SourceMap | null>();
  Error.prepareStackTrace = (error, sites) =>
    [headOf(error), ...sites.map((site) => `    at ${placed(site, maps)}`)].join('\n');
}

function placed(site: NodeJS.CallSite, maps: Map<string, SourceMap | null>): string {
  const frame = (site as { toString(): string }).toString();
  const [file, line, column] = [site.getFileName(), site.getLineNumber(), site.getColumnNumber()];
  if (line === null || column === null || !file || !/\.[cm]js$/.test(file)) return frame;
  const origin = mapOf(file, maps)?.findOrigin(line, column);
  if (origin === undefined || !('fileName' in origin)) return frame;
  const place = `${pathToFileURL(origin.fileName).href}:${origin.lineNumber}:${origin.columnNumber}`;
  return frame.replace(`${file}:${line}:${column}`, () => place);
}

function mapOf(file: string, maps: Map<string, SourceMap | null>): SourceMap | null {
  const known = maps.get(file);
  if (known !== undefined) return known;
  const map = readMap(file);
  maps.set(file, map);
  return map;
}

function readMap(file: string): SourceMap | null {
  try {
    const path = file.startsWith('file:') ? fileURLToPath(file) : file;
    const text = readFileSync(`${path}.map`, 'utf8');
    return new SourceMap(JSON.parse(text) as ConstructorParameters<typeof SourceMap>[0]);
  } catch {
    return null; // A package's file, or one without a map: its own place is as good.
  }
}

function headOf(error: unknown): string {
  try {
    return String(error);
  } catch {
    return 'Error'; // An object that cannot be told must not hide where it came from.
  }
}
