import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import type { LongshoreError } from '../../workers/errors.ts';
import type { LogLine } from '../../workers/records/contract.ts';
import type { DeliveryLimits } from '../../workers/tools/delivery.ts';
import { type LogSink, type ProcessInfo, runTool } from '../../workers/tools/run.ts';
import { makePlace } from '../support/place.ts';
import { until } from '../support/until.ts';

interface Kept extends LogSink {
  readonly lines: LogLine[];
  readonly batches: number[];
  readonly opened: ProcessInfo[];
  away: boolean;
  /** Calls while it was away. */
  refused: number;
}

function keepLines(): Kept {
  const answer = (): void => {
    if (!kept.away) return;
    kept.refused += 1;
    throw new Error('log store is away');
  };
  const kept: Kept = {
    lines: [],
    batches: [],
    opened: [],
    away: false,
    refused: 0,
    open: async (info) => {
      answer();
      kept.opened.push(info);
      return 7;
    },
    append: async (process_id, lines) => {
      answer();
      expect(process_id).toBe(7);
      kept.batches.push(lines.length);
      kept.lines.push(...lines);
    },
  };
  return kept;
}

const quick: Partial<DeliveryLimits> = { retry_ms: 10, farewell_ms: 100 };

const run = (sink: LogSink, script: string, more: Partial<Parameters<typeof runTool>[0]> = {}) =>
  runTool({
    command: 'node',
    args: ['-e', script],
    signal: new AbortController().signal,
    sink,
    limits: quick,
    ...more,
  });

const messages = (sink: Kept, level: LogLine['level']): string[] =>
  sink.lines.filter((line) => line.level === level).map((line) => line.message);

test('100,000 lines of two streams arrive complete, in order, on their level, in batches of at most 1000', async () => {
  const sink = keepLines();
  const started = Date.now();
  await run(
    sink,
    // In pieces that end in the middle of a line.
    `const text = (name) => Array.from({ length: 50000 }, (_, n) => name + ' ' + n + '\\n').join('');
     const out = (stream, all) => { let at = 0; const more = () => { while (at < all.length) { const part = all.slice(at, at + 997); at += 997; if (!stream.write(part)) { stream.once('drain', more); return; } } }; more(); };
     out(process.stdout, text('o')); out(process.stderr, text('e'));`,
  );
  // Not as arrays: what differs in 50,000 lines would be shown after minutes.
  for (const [level, name] of [
    ['stdout', 'o'],
    ['stderr', 'e'],
  ] as const) {
    const lines = messages(sink, level);
    const wrong = lines.findIndex((line, n) => line !== `${name} ${n}`);
    expect({ level, count: lines.length, wrong, line: lines[wrong] }).toEqual({
      level,
      count: 50_000,
      wrong: -1,
      line: undefined,
    });
  }
  expect(Math.max(...sink.batches)).toBeLessThanOrEqual(1000);
  expect(Date.parse(sink.lines[0]?.timestamp ?? '')).toBeGreaterThanOrEqual(started);
  expect(sink.opened[0]).toMatchObject({ command: 'node', args: ['-e', expect.any(String)] });
});

test('the last line needs no newline and is there as soon as the program ends', async () => {
  const sink = keepLines();
  const waits = { ...quick, batch_ms: 60_000 };
  const begun = performance.now();
  const result = await run(sink, `process.stdout.write('one\\r\\ntwo ✓')`, { limits: waits });
  expect(performance.now() - begun).toBeLessThan(waits.batch_ms / 2);
  expect(messages(sink, 'stdout')).toEqual(['one', 'two ✓']);
  expect(result).toMatchObject({ process_id: 7, lost_lines: 0 });
});

test('a line shows up within the batch time while the program still runs', async () => {
  const sink = keepLines();
  const stop = new AbortController();
  const running = run(sink, `console.log('early'); setInterval(() => {}, 1000)`, {
    signal: stop.signal,
    limits: { batch_ms: 50 },
  });
  await until(() => sink.lines.length === 1);
  stop.abort();
  await expect(running).rejects.toMatchObject({ code: 'E_REVOKED' });
});

test('a failing program reports return code, process id, arguments and its last words', async () => {
  const error = await run(keepLines(), `console.error('no such flow cell'); process.exit(3)`).catch(
    (thrown: LongshoreError) => thrown,
  );
  expect(error).toMatchObject({
    code: 'E_SUBPROCESS',
    message: 'node ended with exit code 3: no such flow cell',
    fields: {
      return_code: 3,
      signal: null,
      process_id: 7,
      args: ['node', '-e', expect.any(String)],
      stderr: ['no such flow cell'],
    },
  });
});

test('a program that goes on after what it failed at is quoted with that', async () => {
  const lines = ['Started a.gz', 'Failed to process b.gz', 'ZipException: no GZIP', 'Started c.gz'];
  const script = `console.error(${JSON.stringify(lines.join('\n'))}); process.exitCode = 1`;
  await expect(run(keepLines(), script)).rejects.toMatchObject({
    message: 'node ended with exit code 1: Failed to process b.gz',
    fields: { stderr: lines },
  });
});

test.each([
  `could not create '/qc/multiqc_sources.txt': No space left on device`,
  `java.io.IOException: Disk quota exceeded`,
])('a program that finds the disk full waits for room as a task does: %s', async (line) => {
  const script = `console.error(${JSON.stringify(`${line}\nERROR: it failed`)}); process.exitCode = 1`;
  await expect(run(keepLines(), script)).rejects.toMatchObject({
    code: 'E_NO_SPACE',
    class: 'operator',
    message: `node ended with exit code 1: ${line}`,
  });
});

test('death by a signal is a failure that names the signal', async () => {
  await expect(run(keepLines(), `process.kill(process.pid, 'SIGKILL')`)).rejects.toMatchObject({
    code: 'E_SUBPROCESS',
    fields: { return_code: null, signal: 'SIGKILL' },
  });
});

test('a missing program is named, and a missing working folder is not taken for it', async () => {
  const call = { args: [], signal: new AbortController().signal, sink: keepLines() };
  await expect(runTool({ ...call, command: 'fastqc-of-nowhere' })).rejects.toMatchObject({
    code: 'E_TOOL_MISSING',
    fields: { command: 'fastqc-of-nowhere' },
  });
  await expect(runTool({ ...call, command: 'true', options: { cwd: '/no/such' } })).rejects.toMatchObject({
    code: 'E_IO',
  });
});

test('arguments reach the program as they are: spaces, quotes, newlines, dollars, leading dashes', async () => {
  const odd = ['a b', `it's "so"`, 'two\nlines', '$HOME;`id`', '-rf', '*'];
  const result = await runTool({
    command: 'node',
    args: ['-e', 'process.stdout.write(JSON.stringify(process.argv.slice(1)))', '--', ...odd],
    options: { capture_bytes: 1000 },
    signal: new AbortController().signal,
    sink: keepLines(),
  });
  expect(JSON.parse(result.stdout)).toEqual(odd);
});

test('output beyond what may be kept is a failure, never a cut-off result', async () => {
  const options = { capture_bytes: 10 };
  await expect(run(keepLines(), `process.stdout.write('x'.repeat(11))`, { options })).rejects.toMatchObject({
    code: 'E_SUBPROCESS',
    fields: { capture_bytes: 10 },
  });
  expect((await run(keepLines(), `process.stdout.write('x'.repeat(10))`, { options })).stdout).toHaveLength(
    10,
  );
});

test('lines that hide a failure behind exit code 0 are handed back', async () => {
  const script = `console.log('fine'); console.error('java.io.EOFException: end'); console.log('an Exception inside')`;
  const result = await run(keepLines(), script, { options: { watch_for: /^[\w.]+Exception/ } });
  expect(result.seen).toEqual(['java.io.EOFException: end']);
});

test('our secrets are not handed to programs, what the task adds is', async () => {
  process.env.ALIAS_SALT = 'top-secret';
  process.env.LONGSHORE_OVERRIDES = '{"api":{"auth_token":"top-secret"}}';
  onTestFinished(() => void delete process.env.LONGSHORE_OVERRIDES);
  const script = `process.stdout.write(String(process.env.ALIAS_SALT ?? process.env.LONGSHORE_OVERRIDES) + process.env.EXTRA)`;
  const result = await run(keepLines(), script, { options: { capture_bytes: 100, env: { EXTRA: '!' } } });
  expect(result.stdout).toBe('undefined!');
});

test('a program that ignores SIGTERM is killed after the grace time', async () => {
  const sink = keepLines();
  const stop = new AbortController();
  const running = run(
    sink,
    `process.on('SIGTERM', () => {}); console.log(process.pid); setInterval(() => {}, 1000)`,
    { signal: stop.signal, kill_grace_seconds: 0.1, limits: { batch_ms: 10 } },
  );
  const pid = await until(() => Number(sink.lines[0]?.message));
  stop.abort();
  await expect(running).rejects.toMatchObject({ code: 'E_REVOKED' });
  expect(() => process.kill(pid, 0)).toThrow('ESRCH');
});

test('a log store that comes back gets every line, in order', async () => {
  const place = await makePlace();
  const [printed, go] = [place.path('printed'), place.path('go')];
  const stop = new AbortController();
  onTestFinished(() => stop.abort());
  const sink = keepLines();
  sink.away = true;
  const running = run(
    sink,
    `const { existsSync, writeFileSync } = require('node:fs');
     for (let n = 0; n < 30; n++) console.log(n);
     writeFileSync('${printed}', '');
     const t = setInterval(() => { if (!existsSync('${go}')) return; clearInterval(t); for (let n = 30; n < 60; n++) console.log(n); }, 5)`,
    { limits: { ...quick, batch_ms: 5, farewell_ms: 5000 }, signal: stop.signal },
  );
  // Where the test fails before its end, the program is stopped with it.
  running.catch(() => undefined);
  await until(() => existsSync(printed));
  // The first half was offered to a store that is away, more than once.
  const { refused } = sink;
  await until(() => sink.refused > refused + 2);
  sink.away = false;
  await until(() => sink.lines.length === 30);
  writeFileSync(go, '');
  const result = await running;
  expect(messages(sink, 'stdout')).toEqual(Array.from({ length: 60 }, (_, n) => String(n)));
  expect(result).toMatchObject({ lost_lines: 0, process_id: 7 });
});

test.each([
  ['more than the spool takes', 1000],
  ['all of them in the spool', 10_000_000],
])(
  'a log store that stays away costs lines, not the job: the loss is counted and told with its cause (%s)',
  async (_, spool_bytes) => {
    const sink = keepLines();
    sink.away = true;
    const losses: [number, unknown][] = [];
    const spools = (): string[] => readdirSync(tmpdir()).filter((name) => name.startsWith('longshore-log-'));
    const result = await run(sink, `for (let n = 0; n < 5000; n++) console.log('line', n)`, {
      limits: { ...quick, spool_bytes },
      onLoss: (lines, cause) => losses.push([lines, cause]),
    });
    expect(result).toMatchObject({ process_id: null, lost_lines: 5000 });
    expect(losses).toEqual([[5000, expect.objectContaining({ message: 'log store is away' })]]);
    expect(spools()).toEqual([]);
  },
);

test('a slow log store slows the program down instead of filling the memory', async () => {
  const sink = keepLines();
  let most = 0;
  let produced = 0;
  const slow: LogSink = {
    open: (info) => sink.open(info),
    append: async (id, lines) => {
      await new Promise((resolve) => setImmediate(resolve));
      produced = Number(lines.at(-1)?.message);
      most = Math.max(most, lines.length);
      await sink.append(id, lines);
    },
  };
  await run(slow, `for (let n = 0; n < 30000; n++) console.log(n)`, { limits: { queue_lines: 2000 } });
  expect(produced).toBe(29_999);
  expect(sink.lines).toHaveLength(30_000);
});

test('a process that the program left behind with its pipes open does not hold the task', async () => {
  const sink = keepLines();
  const script = `console.log(require('node:child_process').spawn('sleep', ['20'], {stdio: 'inherit', detached: true}).pid); process.exit(0)`;
  await run(sink, script);
  process.kill(Number(sink.lines[0]?.message), 'SIGKILL');
}, 30_000);
