import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';

const PLACE = /(file:\/\/[^\s()]+\.mjs):(\d+):(\d+)/;

/**
 * Stacks name lines of the source. Node's own way (`--enable-source-maps`) reads the maps of all files when they are
 * loaded, a sixth of what a process costs; here they are read when the first stack is asked for.
 */
export function traceToSource(): void {
  const maps = new Map<string, SourceMap | null>();
  Error.prepareStackTrace = (error, sites) =>
    [
      headOf(error),
      ...sites.map((site: { toString(): string }) => `    at ${placed(site.toString(), maps)}`),
    ].join('\n');
}

/** @param frame one line of a stack, without its `at` */
function placed(frame: string, maps: Map<string, SourceMap | null>): string {
  return frame.replace(PLACE, (place, url: string, line: string, column: string) => {
    const map = mapOf(url, maps);
    const origin = map?.findOrigin(Number(line), Number(column));
    if (origin === undefined || !('fileName' in origin)) return place;
    return `${pathToFileURL(origin.fileName).href}:${origin.lineNumber}:${origin.columnNumber}`;
  });
}

function mapOf(url: string, maps: Map<string, SourceMap | null>): SourceMap | null {
  const known = maps.get(url);
  if (known !== undefined) return known;
  const map = readMap(url);
  maps.set(url, map);
  return map;
}

function readMap(url: string): SourceMap | null {
  try {
    const text = readFileSync(`${fileURLToPath(url)}.map`, 'utf8');
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
