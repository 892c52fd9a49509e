import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { createHasher, digestMismatch, digestOf, feedZeros } from '../../workers/content/digest/digest.ts';
import { sha256 } from './trees.ts';

const names = ['blake3', 'md5', 'sha256'] as const;

test('digests of nothing are the published ones', () => {
  expect(digestOf(names, Buffer.alloc(0))).toEqual({
    blake3: 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
    md5: 'd41d8cd98f00b204e9800998ecf8427e',
    sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  });
});

test('a hasher that was used before starts anew, and two at once do not mix', () => {
  const [one, other] = [createHasher(names), createHasher(names)];
  one.update(Buffer.from('a'));
  other.update(Buffer.from('x'));
  one.update(Buffer.from('b'));
  expect(one.digests()).toEqual(digestOf(names, Buffer.from('ab')));
  expect(other.digests()).toEqual(digestOf(names, Buffer.from('x')));
  expect(createHasher(names).digests()).toEqual(digestOf(names, Buffer.alloc(0)));
});

test('zeros that are only counted digest as zeros that are there', () => {
  const hasher = createHasher(['sha256']);
  feedZeros(hasher, 1_000_001);
  expect(hasher.digests().sha256).toBe(sha256(Buffer.alloc(1_000_001)));
});

test('a digest that was expected and not computed is a mismatch', () => {
  expect(digestMismatch({ md5: 'a' }, { md5: 'a', blake3: 'b' })).toBeNull();
  expect(digestMismatch({ md5: 'a' }, {})).toEqual({ digest: 'md5', expected: 'a', actual: null });
});

test('half a million digests without a turn of the event loop leave no memory behind', () => {
  const module = new URL('../../workers/content/digest/digest.ts', import.meta.url).href;
  const script = `
    const { digestOf, createHasher } = await import(${JSON.stringify(module)});
    const bytes = Buffer.alloc(10);
    const round = () => { for (let index = 0; index < 250_000; index++) { digestOf(['blake3'], bytes); createHasher(['blake3']).digests(); } };
    digestOf(['blake3'], bytes);
    const before = process.memoryUsage.rss();
    round();
    console.log(process.memoryUsage.rss() - before);
  `;
  const grown = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(Number(grown)).toBeLessThan(60_000_000);
});
