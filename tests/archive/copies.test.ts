/** What is done with the copies of a bundle, whatever archives they lie in. */
import { expect, test } from 'vitest';
import { deleteBundle } from '../../workers/archive/bundles.ts';
import { type Copy, firstServing } from '../../workers/archive/copies.ts';
import type { Archive } from '../../workers/archive/contract.ts';
import { type ErrorCode, LongshoreError } from '../../workers/errors.ts';
import { sameDigests } from '../../workers/tasks/archived-copies.ts';
import { assertStored } from '../../workers/tasks/bundle-copies.ts';

const copy = (name: string): Copy => ({ archive: { name } as Archive, key: 'k.tar', recorded: null });

/** Which copies are tried, and what comes of it, when they fail with these codes; null: it serves. */
async function tried(
  ...codes: (ErrorCode | null)[]
): Promise<{ names: string[]; told: string[]; end: string }> {
  const names: string[] = [];
  const told: string[] = [];
  const end = await firstServing(
    codes.map((_, at) => copy(String(at))),
    async ({ archive: { name } }) => {
      names.push(name);
      const code = codes[Number(name)];
      if (code) throw new LongshoreError(code, `of ${name}`);
      return name;
    },
    (_, { code }) => void told.push(code),
  ).catch((error: LongshoreError) => `${error.code} ${error.message}`);
  return { names, told, end };
}

test('the next copy is tried only where the failure is that of the copy, and the first failure is thrown', async () => {
  expect(await tried('E_BUNDLE_CORRUPT', 'E_ARCHIVE_UNAVAILABLE', null)).toEqual({
    names: ['0', '1', '2'],
    told: ['E_BUNDLE_CORRUPT', 'E_ARCHIVE_UNAVAILABLE'],
    end: '2',
  });
  expect(await tried('E_BUNDLE_MISSING', 'E_TRANSFER')).toMatchObject({ end: 'E_BUNDLE_MISSING of 0' });
  // A full disk, or a job that is lost, would be the same with every copy.
  for (const code of ['E_NO_SPACE', 'E_LEASE_LOST', 'E_REVOKED'] as const)
    expect(await tried(code, null)).toEqual({ names: ['0'], told: [], end: `${code} of 0` });
  expect((await tried()).end).toMatch(/^E_NOT_ARCHIVED/);
});

test('a bundle goes before its manifest: killed in between, what is left is no bundle without its proof', async () => {
  const gone: string[] = [];
  const archive = { delete: async (key: string) => gone.push(key) > 0 } as unknown as Archive;
  expect(await deleteBundle(archive, 'k.tar')).toBe(true);
  expect(gone).toEqual(['k.tar', 'k.tar.manifest.ndjson']);
});

test('what was stored is what was sent when the size and every digest that both know are the same', () => {
  const archive = { name: 'tape', locate: (key: string) => key } as unknown as Archive;
  const sent = { size: 3, digests: { md5: 'a', blake3: 'b' } };
  const stored = (size: number, digests: Record<string, string>) => () =>
    assertStored(archive, 'k.tar', sent, { size, digests });
  expect(stored(3, { md5: 'a' })).not.toThrow();
  expect(stored(3, {})).not.toThrow();
  expect(stored(2, { md5: 'a' })).toThrow(/has 2 bytes, 3 were sent/);
  expect(stored(3, { md5: 'x' })).toThrow(/md5 x, expected a/);
  expect(sameDigests(sent.digests, { blake3: 'b' })).toBe(true);
  expect(sameDigests(sent.digests, { md5: 'a', blake3: 'x' })).toBe(false);
  expect(sameDigests(sent.digests, { sha256: 'c' })).toBe(false); // None that both have proves nothing.
});
