import { expect, test } from 'vitest';
import { guarded } from '../../workers/archive/s3/guard.ts';
import { gather } from '../support/gather.ts';
import { until } from '../support/until.ts';

/** Gives numbers, and then nothing at all. */
async function* numbers(count: number): AsyncGenerator<number> {
  for (let number = 0; number < count; number++) yield number;
  await new Promise(() => undefined);
}

test('a stream that falls silent is left, with what it gave', async () => {
  const seen: number[] = [];
  const reading = (async () => {
    for await (const one of guarded(numbers(3), { stall_seconds: 0.05 })) seen.push(one);
  })();
  await expect(reading).rejects.toThrow('no byte for 0.05 s');
  expect(seen).toEqual([0, 1, 2]);
});

test('the time of the reader does not count, and a stall after it does', async () => {
  const reading = guarded(numbers(2), { stall_seconds: 0.05 });
  expect(await reading.next()).toEqual({ value: 0, done: false });
  const begun = performance.now();
  await until(() => performance.now() - begun > 200);
  expect(await reading.next()).toEqual({ value: 1, done: false });
  await expect(reading.next()).rejects.toThrow('no byte');
});

test('a silent stream is left when the signal says so, with its reason', async () => {
  const stop = new AbortController();
  const reading = guarded(numbers(0), { signal: stop.signal });
  const ended = expect(reading.next()).rejects.toThrow('enough');
  stop.abort(new Error('enough'));
  await ended;
  const never = guarded(numbers(1), { signal: stop.signal });
  await expect(never.next()).rejects.toThrow('enough');
});

test('an error of the stream, and its end, are handed on; a stream that is left is closed', async () => {
  let closed = 0;
  const source = async function* (fails: boolean): AsyncGenerator<number> {
    try {
      yield 1;
      yield 2;
      if (fails) throw new Error('broken');
    } finally {
      closed += 1;
    }
  };
  expect(await gather(guarded(source(false), { stall_seconds: 10 }))).toEqual([1, 2]);
  await expect(gather(guarded(source(true), {}))).rejects.toThrow('broken');
  for await (const one of guarded(source(false), {})) if (one === 1) break;
  await until(() => closed === 3);
});
