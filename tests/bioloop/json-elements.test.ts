import { expect, test } from 'vitest';
import { elementsOf } from '../../workers/bioloop/json-elements.ts';

async function* inChunks(text: string, size: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(text: string, size = 3): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const element of elementsOf(inChunks(text, size), 'files', (message) => new Error(message)))
    found.push(JSON.parse(element));
  return found;
}

const FILES = [
  { path: 'a "{[,]}" \\', md5: null },
  { path: 'é\n', more: { files: [{ no: 1 }], list: [[1], {}] } },
  {},
];

test.each([1, 2, 7, 1000])('elements come out whole, however the bytes are cut (%i)', async (size) => {
  const text = JSON.stringify({
    'fi"les': [1],
    name: 'files',
    bundle: { files: [{ x: 1 }] },
    files: FILES,
    after: [{ y: 1 }],
  });
  expect(await read(text, size)).toEqual(FILES);
  expect(await read(JSON.stringify({ files: FILES }, null, 2), size)).toEqual(FILES);
});

test('an empty list is one; none, an early end and something else are errors', async () => {
  expect(await read('{"a":1,"files":[]}')).toEqual([]);
  await expect(read('{"a":{"files":[]}}')).rejects.toThrow('expected an array');
  await expect(read('{"files":[{"a":1}')).rejects.toThrow('ends too early');
  await expect(read('<html>')).rejects.toThrow('expected a JSON object');
  await expect(read('')).rejects.toThrow('expected an array');
});
