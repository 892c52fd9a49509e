/** When a program that an archive is reached by has stalled, and when others let it wait. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type ProgramEnd, runProgram, streamProgram } from '../../workers/archive/program.ts';

/** Long enough for a loaded machine to start a program in. */
const STALL_SECONDS = 2;
/** Longer than the program may be still. */
const LONGER_MS = 3500;

test('a reader that takes its time is no stall of the program', async () => {
  const ends: Omit<ProgramEnd, 'stdout'>[] = [];
  const source = streamProgram(
    { command: 'head', args: ['-c', '3000000', '/dev/zero'], stall_seconds: STALL_SECONDS },
    (end) => void ends.push(end),
  );
  let got = 0;
  for await (const chunk of source) {
    if (got === 0) await sleep(LONGER_MS);
    got += chunk.length;
  }
  expect(ends).toMatchObject([{ code: 0, stalled: false }]);
  expect(got).toBe(3_000_000);
});

test('nor is a source that is slow to give its input', async () => {
  const input = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.from('one ');
    await sleep(LONGER_MS);
    yield Buffer.from('two');
  };
  const call = { command: 'cat', args: [], stall_seconds: STALL_SECONDS, input: input() };
  expect(await runProgram(call)).toMatchObject({ code: 0, stalled: false, stdout: Buffer.from('one two') });
});

test('one that does not take its input, or does not end after it, has stalled', async () => {
  const full = async function* (): AsyncGenerator<Buffer> {
    for (let at = 0; at < 64; at++) yield Buffer.alloc(64 * 1024);
  };
  for (const input of [full(), [Buffer.from('all')]]) {
    const call = { command: 'sleep', args: ['60'], stall_seconds: STALL_SECONDS };
    const end = await runProgram({ ...call, input: input as AsyncIterable<Buffer> });
    expect(end).toMatchObject({ code: null, stalled: true });
  }
});

test('a question about its progress that hangs is not asked again', async () => {
  let asked = 0;
  const watch = {
    every_seconds: 0.02,
    moved: async (): Promise<boolean> => {
      asked += 1;
      await new Promise(() => undefined);
      return false;
    },
  };
  await runProgram({ command: 'sleep', args: ['0.5'], stall_seconds: 60, watch });
  expect(asked).toBe(1);
});
