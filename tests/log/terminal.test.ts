/** What a log tells to a terminal, where names come from whoever may make a folder. */
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

const module = new URL('../../workers/log.ts', import.meta.url).href;
const NAME = 'run\u001b]0;owned\u0007\u001b[2J\u009b31m\b\r\u202etxt\n[10:00:00] INFO (worker): all is well';

const SCRIPT = `
  const { createLogger } = await import(${JSON.stringify(module)});
  const log = createLogger('test');
  const name = process.argv[1];
  log.info({ path: name }, 'a folder ' + name);
  log.error({ err: new Error('cannot read ' + name) }, 'failed');
  log.info({ back: 'C:\\\\u001b', tab: '\\t' }, 'C:\\\\u001b');
`;

const logged = (format: 'pretty' | 'json'): string =>
  execFileSync(process.execPath, ['--input-type=module', '-e', SCRIPT, NAME], {
    encoding: 'utf8',
    env: { ...process.env, LOG_FORMAT: format, LONGSHORE_DOTENV: 'none', LOG_LEVEL: 'info' },
  });

test('names with control characters steer no terminal, and make no lines of their own', () => {
  const text = logged('pretty');
  // oxlint-disable-next-line no-control-regex
  expect(text).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
  expect(text).toContain(String.raw`a folder run\u001b]0;owned\u0007\u001b[2J\u009b31m\b\r\u202etxt`);
  expect(text).toContain('Error: cannot read run');
  expect(text.split('\n').filter((line) => line.startsWith('['))).toHaveLength(3);
  // A name that spells an escape out stays as it is.
  expect(text).toContain(String.raw`: C:\u001b`);
});

test('lines for programs hold names as they are', () => {
  const [first = ''] = logged('json').split('\n');
  expect((JSON.parse(first) as { path: string }).path).toBe(NAME);
});
