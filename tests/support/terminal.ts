import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

const root = join(import.meta.dirname, '../..');

/**
 * A script as a person runs it: on a terminal (made by `script` of util-linux), where keys are typed. They are typed when
 * the text of `after` has appeared.
 */
export async function onTerminal(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  keys: { readonly after: string; readonly type: string },
): Promise<{ code: number | null; text: string }> {
  const words = [process.execPath, join(root, 'scripts', script), ...args];
  const command = words.map((word) => `'${word.replaceAll("'", String.raw`'\''`)}'`).join(' ');
  const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  let typed = false;
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    text += part;
    if (typed || !text.includes(keys.after)) return;
    typed = true;
    child.stdin.write(keys.type);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  return { code: await ended, text };
}
