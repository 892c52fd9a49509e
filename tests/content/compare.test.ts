import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type Comparison, compareTree } from '../../workers/content/compare/compare.ts';
import { pairUp } from '../../workers/content/compare/pair-up.ts';
import { endManifest, ManifestWriter } from '../../workers/content/manifest.ts';
import { packBundle } from '../../workers/content/pack/pack.ts';
import { comparePaths } from '../../workers/content/path.ts';
import { walkTree } from '../../workers/content/walk.ts';
import { makePlace } from '../support/place.ts';
import { makeOddTree } from './trees.ts';

async function packed() {
  const place = await makePlace();
  const root = place.dir('data');
  makeOddTree(root);
  await packBundle({
    source: root,
    target: place.path('bundle.tar'),
    manifest: place.path('manifest'),
    digests: { member: ['blake3'], bundle: ['blake3'] },
  });
  return { root, manifest: place.path('manifest') };
}

test('an unchanged tree has no problems at either level', async () => {
  const tree = await packed();
  for (const level of ['stream', 'readback'] as const) {
    const found = await compareTree({ ...tree, level });
    const none = { problems: [], num_problems: 0, num_lost: 0, first_lost: null };
    expect(found).toEqual({ listed: found.listed, ...none });
    expect(found.listed.num_files).toBeGreaterThan(30);
  }
});

test('missing, extra, wrong size, wrong type and wrong link target are told by path and reason', async () => {
  const tree = await packed();
  const { root } = tree;
  unlinkSync(join(root, 'plain.txt'));
  rmSync(join(root, 'empty folder'), { recursive: true });
  writeFileSync(join(root, 'a/extra'), 'x');
  mkdirSync(join(root, 'zzz'));
  appendFileSync(join(root, 'a-b'), 'x');
  unlinkSync(join(root, 'a.txt'));
  mkdirSync(join(root, 'a.txt'));
  unlinkSync(join(root, 'link'));
  symlinkSync('a-b', join(root, 'link'));
  const found = await compareTree({ ...tree, level: 'stream' });
  expect(found.problems.map(String).toSorted()).toEqual([
    'a-b,has 701 bytes, expected 700',
    'a.txt,is a directory, expected a file',
    'a/extra,is not in the manifest',
    'empty folder,directory does not exist',
    'link,leads to "a-b", expected "plain.txt"',
    'plain.txt,file does not exist',
    'zzz,is not in the manifest',
  ]);
  // Of these two the tree has no bytes any more.
  expect([found.num_lost, found.first_lost]).toEqual([2, ['a.txt', 'is gone']]);
});

test('altered bytes of the same length are found by reading back', async () => {
  const tree = await packed();
  writeFileSync(join(tree.root, 'plain.txt'), 'jello\n');
  expect((await compareTree({ ...tree, level: 'stream' })).problems).toEqual([]);
  const found = await compareTree({ ...tree, level: 'readback' });
  expect(found.problems).toEqual([['plain.txt', 'checksum mismatch']]);
});

test('both sides are given back when a comparison ends early: a walk holds folders open', () => {
  const ended: string[] = [];
  function* side(name: string): Generator<{ path: string }> {
    try {
      yield* [{ path: 'a' }, { path: 'b' }];
    } finally {
      ended.push(name);
    }
  }
  for (const _ of pairUp(side('left'), side('right'))) break;
  expect(ended).toEqual(['left', 'right']);
});

test('the walk comes in the order that comparePaths sorts by, whatever the names', async () => {
  const { root } = await packed();
  for (const name of ['\ue000', '😀', 'a\u0001', 'a0', 'Z', 'é']) {
    mkdirSync(join(root, name));
    writeFileSync(join(root, name, 'x'), '');
  }
  const walked = [...walkTree(root)].map((member) => member.path);
  expect(walked.toSorted(comparePaths)).toEqual(walked);
  expect(walked.indexOf('a/z')).toBeLessThan(walked.indexOf('a-b'));
});

test('a file that has become a link when its turn to be read comes is a difference', async () => {
  const tree = await packed();
  const comparing = compareTree({ ...tree, level: 'readback' });
  await new Promise(setImmediate); // Both lists were gone through; the threads that read have yet to begin.
  unlinkSync(join(tree.root, 'plain.txt'));
  symlinkSync('a-b', join(tree.root, 'plain.txt'));
  const found = await comparing;
  expect(found.problems).toEqual([['plain.txt', expect.stringContaining('cannot be read')]]);
  expect(found.num_problems).toBe(1);
});

test('what a folder holds that may not be read is a difference, for a user who is not root', async () => {
  // Below /tmp, where another user can come in.
  const place = mkdtempSync(join(tmpdir(), 'longshore-compare-'));
  onTestFinished(() => rmSync(place, { recursive: true }));
  chmodSync(place, 0o755);
  const [root, manifest] = [join(place, 'data'), join(place, 'manifest')];
  mkdirSync(join(root, 'closed'), { recursive: true });
  const digests = { member: ['blake3'], bundle: ['blake3'] } as const;
  await packBundle({ source: root, target: join(place, 'bundle.tar'), manifest, digests });
  chmodSync(manifest, 0o644);
  writeFileSync(join(root, 'closed/new'), 'x');
  chmodSync(join(root, 'closed'), 0o000);
  const module = new URL('../../workers/content/compare/compare.ts', import.meta.url).href;
  const script = `
    const { compareTree } = await import(${JSON.stringify(module)});
    if (process.getuid() === 0) { process.setgroups([]); process.setgid(65534); process.setuid(65534); }
    const [root, manifest] = process.argv.slice(1);
    console.log(JSON.stringify(await compareTree({ root, manifest, level: 'stream' })));
  `;
  const given = ['--input-type=module', '-e', script, root, manifest];
  const { problems } = JSON.parse(execFileSync(process.execPath, given, { encoding: 'utf8' })) as Comparison;
  expect(problems).toEqual([['closed', 'cannot be read']]);
});

test('a file without a digest in its manifest is not proven by reading it', async () => {
  const place = await makePlace();
  const root = place.dir('data');
  writeFileSync(join(root, 'a'), 'a');
  const manifest = place.path('manifest');
  const writer = new ManifestWriter(manifest, ['blake3']);
  const mtime = String(statSync(join(root, 'a'), { bigint: true }).mtimeNs);
  writer.add({ path: '.', type: 'directory', size: 0, mode: 0o755, mtime });
  writer.add({ path: 'a', type: 'file', size: 1, mode: 0o644, mtime, offset: 1024 });
  endManifest(manifest, { ...writer.close(), bundle: { size: 10_240, digests: {} } });
  expect((await compareTree({ root, manifest, level: 'stream' })).problems).toEqual([]);
  const found = await compareTree({ root, manifest, level: 'readback' });
  expect(found.problems).toEqual([['a', 'checksum mismatch']]);
});
