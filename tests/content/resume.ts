/** A process that packs or unpacks and is killed when it has come so far; then another one goes on. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';

const url = (file: string): string =>
  JSON.stringify(new URL(`../../workers/content/${file}`, import.meta.url).href);

export interface Outcome {
  readonly killed: boolean;
  readonly written: number;
  readonly read: number;
  readonly kept: number[];
  /** Of a bundle that comes from far: where each request began, and what came in all. */
  readonly asked: number[];
  readonly came: number;
}

/**
 * @param call `packBundle` or `unpackBundle`, and its options as JSON; `far`: to unpack the bundle as one that comes from far
 * @param kill_at bytes of progress at which it kills itself with SIGKILL, or a file of which there are two lines then, or one that has
 * become shorter than that; null: never
 */
export async function inProcess(
  call: 'pack' | 'unpack' | 'far',
  options: Record<string, unknown>,
  kill_at: number | string | { file: string; shorter_than: number } | null,
): Promise<Outcome> {
  const name = call === 'pack' ? 'packBundle' : 'unpackBundle';
  const script = `
    import { createReadStream, readFileSync, statSync } from 'node:fs';
    const { ${name} } = await import(${url(call === 'pack' ? 'pack/pack.ts' : 'unpack/unpack.ts')});
    const [options, killAt, far] = JSON.parse(process.argv[1]);
    const asked = [];
    let came = 0;
    const path = options.bundle;
    if (far) options.bundle = { name: 'far://' + path, size: statSync(path).size, open: async function* (offset) {
      asked.push(offset);
      for await (const chunk of createReadStream(path, { start: offset, highWaterMark: 100_000 })) {
        came += chunk.length;
        yield chunk;
      }
    } };
    const chars = (way) => Number(new RegExp(way + 'char: (\\\\d+)').exec(readFileSync('/proc/self/io', 'utf8'))[1]);
    const before = { w: chars('w'), r: chars('r') };
    const noted = (path) => { try { return readFileSync(path, 'utf8').split('\\n').length > 2; } catch { return false; } };
    const shorter = ({ file, shorter_than }) => statSync(file, { throwIfNoEntry: false })?.size < shorter_than;
    const due = () => killAt?.file !== undefined ? shorter(killAt) : typeof killAt === 'string' ? noted(killAt) : killAt !== null && done >= killAt;
    const kept = [];
    let done = 0;
    // Asked more often than the progress is told: the kill is to come in the middle of something.
    const poll = setInterval(() => { if (due()) process.kill(process.pid, 'SIGKILL'); }, 1);
    await ${name}({ ...options, progress_ms: 5, onProgress: ({ bytes }) => { done = bytes; }, onResume: (bytes) => kept.push(bytes) });
    clearInterval(poll);
    process.stdout.write(JSON.stringify({ written: chars('w') - before.w, read: chars('r') - before.r, kept, asked, came }));
  `;
  const args = ['--input-type=module', '-e', script, JSON.stringify([options, kill_at, call === 'far'])];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (signal === 'SIGKILL') return { killed: true, written: 0, read: 0, kept: [], asked: [], came: 0 };
  if (code !== 0) throw new Error(`the process ended with ${code}`);
  return { killed: false, ...(JSON.parse(said) as Omit<Outcome, 'killed'>) };
}
