import { expect, test } from 'vitest';
import { InodeSet } from '../../workers/content/inodes.ts';

test('each inode is new once, on each device, whatever its number', () => {
  const inodes = new InodeSet();
  const numbers = [1n, 2n, 2n ** 32n, 2n ** 63n + 5n, 2n ** 64n - 1n];
  for (let at = 0n; at < 50_000n; at++) numbers.push(1000n + at * 4096n, 2n ** 40n + at);
  for (const dev of [7n, 8n]) {
    expect(numbers.filter((ino) => !inodes.add(dev, ino))).toEqual([]);
    expect(numbers.filter((ino) => inodes.add(dev, ino))).toEqual([]);
  }
});
