/** What is met again and again is told once, then now and then, and its end. */
import { expect, test } from 'vitest';
import { LongshoreError } from '../../workers/errors.ts';
import type { Logger } from '../../workers/log.ts';
import { troubleTeller } from '../../workers/trouble.ts';

type Line = [level: string, message: string, facts: Record<string, unknown>];

function teller() {
  const lines: Line[] = [];
  const clock = { seconds: 0 };
  const told = (level: string) => (facts: Record<string, unknown>, message: string) =>
    void lines.push([level, message, facts]);
  const log = { info: told('info'), warn: told('warn'), error: told('error') } as unknown as Logger;
  const words = { what: 'it could not be done', end: 'it is done again' };
  const trouble = troubleTeller(log, words, () => clock.seconds * 1000);
  return { trouble, clock, lines };
}

const full = (path = '/a') => new LongshoreError('E_NO_SPACE', `${path} is full`);

test('the first is told in full, the same after one, three, seven minutes with its count, and its end', () => {
  const { trouble, clock, lines } = teller();
  const seen: number[] = [];
  for (; clock.seconds <= 8 * 60; clock.seconds += 1) {
    const before = lines.length;
    trouble.met(full(), { job: 'j' });
    if (lines.length > before) seen.push(clock.seconds);
  }
  expect(seen).toEqual([0, 60, 180, 420]);
  expect(lines[0]).toEqual([
    'error',
    'it could not be done',
    expect.objectContaining({ err: full(), code: 'E_NO_SPACE', hint: full().hint, job: 'j' }),
  ]);
  expect(lines[1]).toEqual([
    'error',
    'still: it could not be done',
    expect.objectContaining({ times: 61, reason: 'E_NO_SPACE: /a is full', since: expect.any(String) }),
  ]);
  trouble.over();
  trouble.over();
  expect(lines.slice(4)).toEqual([
    ['info', 'it is done again', { since: expect.any(String), times: 481, reason: 'E_NO_SPACE: /a is full' }],
  ]);
  trouble.met(full());
  expect(lines.at(-1)?.[1]).toBe('it could not be done');
});

test('another reason is told at once, and two that come in turns are told once each', () => {
  const { trouble, clock, lines } = teller();
  for (; clock.seconds < 50; clock.seconds += 1) trouble.met(full(clock.seconds % 2 === 0 ? '/a' : '/b'));
  expect(lines.map(([, message]) => message)).toEqual(['it could not be done', 'it could not be done']);
});

test('the pause does not grow beyond an hour', () => {
  const { trouble, clock, lines } = teller();
  for (; clock.seconds < 24 * 3600; clock.seconds += 10) trouble.met(full());
  expect(lines.length).toBeGreaterThan(24);
  expect(lines.length).toBeLessThan(32);
});

test('of several that meet it side by side it is over when all went well, or are not heard of any more', () => {
  const { trouble, clock, lines } = teller();
  for (const job of ['a', 'b', 'gone']) trouble.met(full(), {}, job);
  trouble.over('a');
  trouble.over('b');
  expect(lines).toHaveLength(1);
  clock.seconds = 301;
  trouble.over('another');
  expect(lines.map(([, message]) => message)).toEqual(['it could not be done', 'it is done again']);
});
