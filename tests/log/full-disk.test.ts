/** A log whose disk is full ends no work, and has what waited when there is room. */
import { spawn } from 'node:child_process';
import { openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { makePlace } from '../support/place.ts';
import { COMPILE_CACHE } from '../support/processes.ts';
import { runScript } from '../support/script.ts';
import { smallFileSystem } from '../support/small-file-system.ts';

const SCRIPTS = join(import.meta.dirname, '../../scripts');
const module = new URL('../../workers/log.ts', import.meta.url).href;
const NO_MOUNT = 'NOT TESTED: a tmpfs cannot be mounted here';

/** Of which `others` is removed in the middle. */
const SCRIPT = `
  import { rmSync } from 'node:fs';
  const { createLogger } = await import(${JSON.stringify(module)});
  const [others, to, lines] = process.argv.slice(1);
  const log = createLogger('test', {}, to === 'stdout' ? {} : { to });
  log.fatal('first');
  for (let at = 0; at < Number(lines); at += 1) log.info({ at, pad: 'x'.repeat(1000) }, 'line');
  rmSync(others);
  log.info('last');
  process.exitCode = 7;
`;

function fill(folder: string): string {
  const others = join(folder, 'others');
  for (const bytes of [65_536, 16])
    try {
      for (;;) writeFileSync(others, Buffer.alloc(bytes), { flag: 'a' });
    } catch {
      // Full for pieces of that size.
    }
  return others;
}

test.for([
  ['stdout', 'json', 100],
  ['stdout', 'pretty', 100],
  ['stdout', 'json', 3000],
  ['file', 'json', 100],
] as const)(
  'a full disk under %s (%s, %i lines) is told on stderr; what waited follows, and what was lost is counted',
  async ([where, format, lines], context) => {
    const place = await makePlace();
    const folder = smallFileSystem(place.dir('log'), ['size=8m']);
    if (folder === null) return context.skip(NO_MOUNT);
    const file = join(folder, 'log');
    const stdout = openSync(where === 'stdout' ? file : place.path('stdout'), 'a');
    const others = fill(folder);
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', SCRIPT, others, where === 'stdout' ? where : file, String(lines)],
      {
        env: { ...process.env, ...place.env, ...COMPILE_CACHE, LOG_FORMAT: format, LOG_LEVEL: 'info' },
        stdio: ['ignore', stdout, 'pipe'],
      },
    );
    const ended = new Promise((resolve) => child.once('close', resolve));
    const said = await text(child.stderr as Readable);
    expect(await ended, said).toBe(7);
    expect(said).toContain('the log cannot be written; the work goes on without it');
    expect(said.match(/E_NO_SPACE/g)).toHaveLength(1);
    if (where === 'file') expect(said).toContain(file);
    const written = readFileSync(file, 'utf8');
    expect(written).toContain('first');
    expect(written).toContain('last');
    if (lines === 100) expect(written).not.toContain('lost');
    else expect(written).toMatch(/"lines":[12]\d{3},"msg":"the log is written again/);
  },
);

test('a command whose output is a file on a full disk says so, and ends with 1', async (context) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('out'), ['size=64k']);
  if (folder === null) return context.skip(NO_MOUNT);
  fill(folder);
  for (const json of [[], ['--json']]) {
    const child = spawn(process.execPath, [join(SCRIPTS, 'longshore.ts'), 'config', ...json], {
      env: { ...process.env, ...place.env, ...COMPILE_CACHE },
      stdio: ['ignore', openSync(join(folder, 'answer'), 'a'), 'pipe'],
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    const said = await text(child.stderr as Readable);
    expect(await ended).toBe(1);
    expect(said).toMatch(/^E_NO_SPACE: ENOSPC: no space left on device, write 'standard output'\nFree .*\n$/);
  }
});

test('a registration whose log folder is full is done all the same, and says that it has no log', async (context) => {
  const place = await makePlace();
  const folder = smallFileSystem(place.dir('log'), ['size=64k']);
  if (folder === null) return context.skip(NO_MOUNT);
  const overrides = JSON.parse(place.env.LONGSHORE_OVERRIDES ?? '{}') as object;
  const logs = { register_ondemand: join(folder, 'ondemand') };
  place.env.LONGSHORE_OVERRIDES = JSON.stringify({ ...overrides, logs });
  writeFileSync(join(place.dir('run_A'), 'x'), 'x');
  const others = fill(folder);
  const args = [place.path('run_A'), '--dataset-type', 'RAW_DATA', '--json'];
  const done = await runScript('register_ondemand.ts', args, place.env);
  expect(done).toMatchObject({ code: 0, stdout: expect.stringContaining('"created"') });
  expect(done.stderr).toContain(`no space left on device, write '${folder}/ondemand/`);
  rmSync(others);
});
