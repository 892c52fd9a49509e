import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readManifest } from '../../workers/content/manifest.ts';
import { stagedPathOf } from '../../workers/dataset/paths.ts';
import { makeOddTree, makeSparse, sha256 } from '../content/trees.ts';
import { type Archived, type ArchivedOptions, makeArchived } from '../support/archived.ts';
import { bagItTool } from '../support/bagit.ts';
import { smallFileSystem } from '../support/small-file-system.ts';
import { runScript } from '../support/script.ts';

/** As the stage workflow leaves it. */
async function staged(make: (root: string) => void, options: ArchivedOptions = {}) {
  const at = await makeArchived(make, options);
  const dataset = await at.store.catalog.get(at.id);
  mkdirSync(dirname(dirname(stagedPathOf(at.place.config, dataset))), { recursive: true });
  const path = stagedPathOf(at.place.config, dataset);
  mkdirSync(dirname(path), { recursive: true });
  execFileSync('cp', ['-a', at.source, path]);
  await at.store.catalog.patch(at.id, { is_staged: true, staged_path: path });
  return { ...at, path };
}

const manifest = ({ place }: Archived, ...args: string[]) =>
  runScript('longshore.ts', ['manifest', 'run_A', ...args], place.env);

const plain = (root: string): void => {
  mkdirSync(join(root, 'sub'));
  for (const name of ['a', 'sub/b', 'z']) writeFileSync(join(root, name), `content of ${name}`);
};

/** Every name that coreutils can be given, which is every name. */
const oddWithoutLinks = (root: string): void => {
  makeOddTree(root);
  for (const name of ['-', 'carriage\rreturn', 'ends in \\', 'percent %41 %0A', 'x\\ny', 'a\tb'])
    writeFileSync(join(root, name), name);
};

describe('longshore manifest', () => {
  test('json is one document with the dataset, its bundle, the counts and every member', async () => {
    const at = await makeArchived(makeOddTree, { digests: ['blake3', 'md5'] });
    const done = await manifest(at);
    expect(done).toMatchObject({ code: 0, stderr: '' });
    const members = [...readManifest(at.manifest())];
    expect(JSON.parse(done.stdout)).toMatchObject({
      dataset: { id: at.id, name: 'run_A', type: 'RAW_DATA' },
      bundle: {
        archive: 'filesystem',
        key: at.bundle(),
        size: statSync(at.bundle()).size,
        digests: { blake3: expect.stringMatching(/^[0-9a-f]{64}$/) },
      },
      counts: { members: members.length },
      member_digests: ['blake3', 'md5'],
      members,
    });
  });

  test('lists that are longer than what is written at once are whole', async () => {
    const paths = Array.from({ length: 1000 }, (_, number) => `file ${String(number).padStart(4, '0')}`);
    const at = await makeArchived((root) => {
      for (const path of paths) writeFileSync(join(root, path), path);
    });
    const { members } = JSON.parse((await manifest(at)).stdout) as {
      members: { path: string; type: string }[];
    };
    expect(members.filter(({ type }) => type === 'file').map(({ path }) => path)).toEqual(paths);
    const sums = (await manifest(at, '--format', 'b3sum')).stdout.trimEnd().split('\n');
    expect(sums.map((line) => line.replace(/^[0-9a-f]{64} {2}\.\//, ''))).toEqual(paths);
  });

  test('ndjson is the manifest as it is stored', async () => {
    const at = await makeArchived(makeOddTree);
    const file = at.place.path('copy.ndjson');
    expect(await manifest(at, '--format', 'ndjson', '--to', file)).toMatchObject({ code: 0, stdout: '' });
    expect(readFileSync(file).equals(readFileSync(at.manifest()))).toBe(true);
    expect((await manifest(at, '--format', 'ndjson')).stdout).toBe(readFileSync(file, 'utf8'));
    const again = await manifest(at, '--to', file);
    expect(again).toMatchObject({ code: 2, stderr: expect.stringMatching(/^E_USAGE: .* exists\n.*--force/) });
    expect((await manifest(at, '--to', file, '--force')).code).toBe(0);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ dataset: { id: at.id } });
    const nowhere = at.place.path('no/such/folder');
    expect(await manifest(at, '--to', `${nowhere}/copy`)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`E_USAGE: there is no folder ${nowhere}\n`),
    });
  });

  const sums: [format: string, digests: ('md5' | 'sha256')[]][] = [
    ['md5sum', ['md5']],
    ['sha256sum', ['sha256']],
    ['md5sum', []],
    ['sha256sum', []],
  ];
  test.each(sums)(
    '%s -c accepts every file of the staged folder, digests in the manifest: %j',
    async (format, digests) => {
      const at = await staged(oddWithoutLinks, { digests: ['blake3', ...digests] });
      const file = at.place.path('sums');
      expect((await manifest(at, '--format', format, '--to', file)).code).toBe(0);
      const check = spawnSync(format, ['--check', '--strict', '--quiet', file], {
        cwd: at.path,
        encoding: 'utf8',
      });
      expect({ status: check.status, stdout: check.stdout, stderr: check.stderr }).toEqual({
        status: 0,
        stdout: '',
        stderr: '',
      });
      const files = execFileSync('find', [at.path, '-type', 'f', '-printf', 'x'], {
        encoding: 'utf8',
      }).length;
      expect(readFileSync(file, 'latin1').trimEnd().split('\n')).toHaveLength(files);
    },
  );

  const b3sum = spawnSync('b3sum', ['--version']).error === undefined;
  test('b3sum lines hold the digests of the manifest', async ({ skip }) => {
    const at = await staged(plain);
    const { stdout } = await manifest(at, '--format', 'b3sum');
    expect(stdout.split('\n')[0]).toBe(`${at.member('a').digests?.blake3}  ./a`);
    if (!b3sum)
      skip('b3sum is not installed (Debian: apt-get install b3sum); only the digests were compared');
    const check = spawnSync('b3sum', ['--check', '-'], { cwd: at.path, input: stdout, encoding: 'utf8' });
    expect(check.status).toBe(0);
  });

  test('a digest that is nowhere is a clear error that says which ones there are', async () => {
    const at = await makeArchived(plain);
    const done = await manifest(at, '--format', 'md5sum', '--to', at.place.path('sums'));
    expect(done).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/has no md5, only blake3.*\n.*longshore stage .*--format b3sum/),
    });
    expect(readdirSync(at.place.folder).filter((name) => name.includes('sums'))).toEqual([]);
  });

  test('digests are never computed from bytes that were not archived', async () => {
    const at = await staged(plain);
    const { atime, mtime } = statSync(join(at.path, 'sub/b'));
    writeFileSync(join(at.path, 'sub/b'), 'Content of sub/b');
    utimesSync(join(at.path, 'sub/b'), atime, mtime);
    const out = at.place.dir('out');
    const done = await manifest(at, '--format', 'sha256sum', '--to', join(out, 'sums'));
    expect(done).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/E_VALIDATION: .*"sub\/b": checksum mismatch/),
    });
    expect(readdirSync(out)).toEqual([]);
    // Nor is a folder replaced by a list, however much that is asked for.
    const folder = await manifest(at, '--format', 'sha256sum', '--to', out, '--force');
    expect(folder).toMatchObject({ code: 2, stderr: expect.stringMatching(/^E_USAGE: .*out exists/) });
  });

  test('a manifest that was altered is not handed on', async () => {
    const at = await makeArchived(plain);
    writeFileSync(at.manifest(), readFileSync(at.manifest(), 'utf8').replace('"size":12', '"size":11'));
    const done = await manifest(at, '--format', 'ndjson');
    expect(done).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/E_BUNDLE_CORRUPT/) });
  });
});

const tool = bagItTool();
if ('missing' in tool)
  console.warn(
    `NOT TESTED: bags are not validated by an independent tool (python3 with venv, and pip): ${tool.missing}`,
  );

/** By the independent tool, where there is one. */
function assertValid(bag: string): void {
  if ('missing' in tool) return;
  expect(tool.check(bag)).toMatchObject({ code: 0, output: expect.stringMatching(/ is valid/) });
}

/** By the words of RFC 8493, without any tool. */
function payloadOf(bag: string, algorithm: 'sha256' | 'md5'): Map<string, string> {
  const lines = readFileSync(join(bag, `manifest-${algorithm}.txt`), 'utf8')
    .trimEnd()
    .split('\n');
  return new Map(
    lines.map((line) => {
      const [, digest = '', path = ''] = /^([0-9a-f]+)\s+(.*)$/s.exec(line) ?? [];
      return [decodeURIComponent(path.replace(/%(?!0D|0A|25)/g, '!')), digest];
    }),
  );
}

const infoOf = (bag: string): string => readFileSync(join(bag, 'bag-info.txt'), 'utf8');

const bagged = (at: Archived, ...args: string[]) =>
  manifest(at, '--format', 'bagit', '--to', at.place.path('bag'), ...args);

const names = (root: string): void => {
  mkdirSync(join(root, 'sub/deep'), { recursive: true });
  mkdirSync(join(root, 'empty'));
  for (const name of [
    'a',
    '.hidden',
    'sub/ünïcödé 文件',
    'sub/deep/new\nline',
    'car\rriage',
    'back\\slash',
    '-rf',
    'zero',
  ])
    writeFileSync(join(root, name), name === 'zero' ? '' : `content of ${name}`);
  makeSparse(join(root, 'holes'), 3_000_000, [0, 1_000_000]);
};

describe('a bag', () => {
  test('an independent tool validates it, and finds a byte that was altered afterwards', async ({ skip }) => {
    if ('missing' in tool) return skip(tool.missing);
    const at = await staged(names);
    expect(await bagged(at, '--payload', 'copy', '--digest', 'sha256', 'md5')).toMatchObject({ code: 0 });
    const bag = at.place.path('bag');
    assertValid(bag);
    appendFileSync(join(bag, 'data/a'), '!');
    expect(tool.check(bag).code).not.toBe(0);
  });

  test('has the files of RFC 8493, and the dataset as its payload', async () => {
    const at = await staged(names, { config: { bag: { source_organization: 'Sequencing Core' } } });
    const done = await bagged(at, '--digest', 'sha256', 'md5');
    expect(done).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/a bag of 9 files .*by hard links; sha256, md5/),
    });
    expect(done.stderr).toMatch(/not in the bag: 1 empty folder; bag-info.txt lists them/);
    const bag = at.place.path('bag');
    assertValid(bag);
    expect(readdirSync(bag).toSorted()).toEqual([
      'bag-info.txt',
      'bagit.txt',
      'data',
      'manifest-md5.txt',
      'manifest-sha256.txt',
      'tagmanifest-md5.txt',
      'tagmanifest-sha256.txt',
    ]);
    expect(readFileSync(join(bag, 'bagit.txt'), 'utf8')).toBe(
      'BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n',
    );
    const total = (await at.store.catalog.get(at.id)).size;
    for (const line of [
      'Source-Organization: Sequencing Core',
      'External-Identifier: run_A',
      expect.stringMatching(/^Bagging-Date: \d{4}-\d\d-\d\d$/),
      expect.stringMatching(/^Bag-Software-Agent: Longshore \d/),
      `Payload-Oxum: ${total}.9`,
      'Longshore-Empty-Folder: empty',
    ])
      expect(infoOf(bag).trimEnd().split('\n')).toContainEqual(line);
    const payload = payloadOf(bag, 'sha256');
    expect(payload.size).toBe(9);
    for (const [path, digest] of payload) expect(sha256(readFileSync(join(bag, path)))).toBe(digest);
    expect(statSync(join(bag, 'data/a')).ino).toBe(statSync(join(at.path, 'a')).ino);
    expect(readdirSync(at.place.folder).filter((name) => name.includes('partial'))).toEqual([]);
  });

  test('takes digests from the manifest where they are there, and never from a file that was touched unproven', async () => {
    const at = await staged(plain, { digests: ['sha256'] });
    expect((await bagged(at)).code).toBe(0);
    expect(payloadOf(at.place.path('bag'), 'sha256').get('data/a')).toBe(sha256(Buffer.from('content of a')));
    assertValid(at.place.path('bag'));
    writeFileSync(join(at.path, 'a'), 'Content of a');
    const altered = await manifest(at, '--format', 'bagit', '--to', at.place.path('second'));
    expect(altered).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^E_VALIDATION: .*a: checksum mismatch/m),
    });
    expect(existsSync(at.place.path('second'))).toBe(false);
  });

  test('copies have their own bytes, modes, times and holes', async () => {
    const at = await staged(names);
    expect((await bagged(at, '--payload', 'copy', '--json')).stdout).toMatch(/"copied": true/);
    const bag = at.place.path('bag');
    for (const name of ['a', 'holes']) {
      const [copy, origin] = [statSync(join(bag, 'data', name)), statSync(join(at.path, name))];
      expect(copy.ino).not.toBe(origin.ino);
      expect([copy.mode, Math.round(copy.mtimeMs)]).toEqual([origin.mode, Math.round(origin.mtimeMs)]);
      expect(copy.blocks).toBeLessThanOrEqual(origin.blocks);
    }
  });

  test('percent signs and ends of lines are encoded as the RFC says', async () => {
    const at = await staged((root) => {
      for (const name of ['100%', 'a%0Ab', 'a\nb', 'a\rb']) writeFileSync(join(root, name), name);
    });
    expect((await bagged(at)).code).toBe(0);
    const text = readFileSync(at.place.path('bag/manifest-sha256.txt'), 'utf8');
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((line) => line.slice(66)),
    ).toEqual(['data/100%25', 'data/a%0Ab', 'data/a%0Db', 'data/a%250Ab']);
    for (const [path, digest] of payloadOf(at.place.path('bag'), 'sha256'))
      expect(sha256(readFileSync(at.place.path('bag', path)))).toBe(digest);
  });

  test('links: refused with a list, followed to the file, or left out and listed', async () => {
    const at = await staged((root) => {
      plain(root);
      symlinkSync('sub/b', join(root, 'good'));
      symlinkSync('nowhere', join(root, 'dangling'));
      symlinkSync('/etc/hostname', join(root, 'outside'));
      symlinkSync('sub', join(root, 'folder'));
    });
    const refused = await bagged(at, '--json');
    expect(refused.code).toBe(2);
    expect(JSON.parse(refused.stdout)).toMatchObject({
      error: {
        code: 'E_USAGE',
        fields: { total: 4, links: expect.arrayContaining([['good', 'leads to "sub/b"']]) },
      },
    });
    const following = await bagged(at, '--links', 'follow', '--json');
    expect(JSON.parse(following.stdout)).toMatchObject({
      error: {
        fields: {
          links: [
            ['dangling', 'leads nowhere'],
            ['folder', 'leads to a folder'],
            ['outside', 'leads out of the dataset'],
          ],
        },
      },
    });
    const skipped = await bagged(at, '--links', 'skip');
    expect(skipped).toMatchObject({ code: 0, stderr: expect.stringMatching(/not in the bag: 4 links/) });
    expect(infoOf(at.place.path('bag'))).toMatch(/^Longshore-Skipped-Link: good -> sub\/b$/m);
    assertValid(at.place.path('bag'));
  });

  test.each(['link', 'copy'])(
    'a link that is followed is the file that it leads to (%s)',
    async (payload) => {
      const at = await staged((root) => {
        plain(root);
        symlinkSync('../sub/b', join(root, 'sub/good'));
        linkSync(join(root, 'a'), join(root, 'hard'));
      });
      expect((await bagged(at, '--links', 'follow', '--payload', payload)).code).toBe(0);
      expect(readFileSync(at.place.path('bag/data/sub/good'), 'utf8')).toBe('content of sub/b');
      expect(payloadOf(at.place.path('bag'), 'sha256').get('data/sub/good')).toBe(
        sha256(Buffer.from('content of sub/b')),
      );
      expect(infoOf(at.place.path('bag'))).toMatch(/^Payload-Oxum: 68\.5$/m);
      assertValid(at.place.path('bag'));
    },
  );

  test('without a payload it has its manifests, to be filled by other means', async () => {
    const at = await staged(plain);
    expect((await bagged(at, '--payload', 'none')).code).toBe(0);
    expect(readdirSync(at.place.path('bag/data'))).toEqual([]);
    execFileSync('cp', ['-a', `${at.path}/.`, at.place.path('bag/data')]);
    assertValid(at.place.path('bag'));
  });

  test('a file with holes that finds no room is E_NO_SPACE, and the bag is made when there is', async ({
    skip,
  }) => {
    const at = await staged((root) => makeSparse(join(root, 'holes'), 3_000_000, [0, 1_000_000]));
    const folder = smallFileSystem(at.place.dir('bags'), ['nr_inodes=3']);
    if (folder === null) return skip('mounting is not permitted');
    const make = () => manifest(at, '--format', 'bagit', '--to', join(folder, 'bag'));
    for (let entries = 3; entries <= 7; entries++) {
      spawnSync('mount', ['-o', `remount,nr_inodes=${entries}`, folder]);
      const full = await make();
      expect(full, String(entries)).toMatchObject({
        code: 1,
        stderr: expect.stringMatching(/^E_NO_SPACE: .*bags/),
      });
      expect(readdirSync(folder)).toEqual([]);
    }
    spawnSync('mount', ['-o', 'remount,nr_inodes=100', folder]);
    expect((await make()).code).toBe(0);
  });

  test('names that are no UTF-8 are refused with a list', async () => {
    const at = await staged((root) => writeFileSync(Buffer.from(`${root}/l\xe4t`, 'latin1'), 'x'));
    const done = await bagged(at);
    expect(done).toMatchObject({ code: 1, stderr: expect.stringMatching(/^E_VALUE: .*l\\xe4t/) });
    expect(existsSync(at.place.path('bag'))).toBe(false);
  });

  test('replaces a bag when that is asked for, and never another folder', async () => {
    const at = await staged(plain);
    mkdirSync(at.place.path('bag'));
    writeFileSync(at.place.path('bag/precious'), 'x');
    expect(await bagged(at, '--force')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^E_USAGE: .* exists/),
    });
    expect(readdirSync(at.place.path('bag'))).toEqual(['precious']);
    const place = ['--format', 'bagit', '--to', at.place.path('second')];
    expect((await manifest(at, ...place)).code).toBe(0);
    expect((await manifest(at, ...place)).code).toBe(2);
    at.place.dir('.second.partial-0dead000'); // Of a run that was killed.
    expect((await manifest(at, ...place, '--force', '--digest', 'md5')).code).toBe(0);
    expect(existsSync(at.place.path('second/manifest-sha256.txt'))).toBe(false);
    expect(existsSync(at.place.path('.second.partial-0dead000'))).toBe(false);
    assertValid(at.place.path('second'));
    // A link to a bag is none: what would be replaced is not what it leads to.
    symlinkSync('second', at.place.path('third'));
    expect((await manifest(at, '--format', 'bagit', '--to', at.place.path('third'), '--force')).code).toBe(2);
    expect(readlinkSync(at.place.path('third'))).toBe('second');
  });

  test('needs a staged copy, and a folder', async () => {
    const at = await makeArchived(plain);
    expect(await bagged(at)).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/no staged copy.*\n.*longshore stage/),
    });
    expect((await manifest(at, '--format', 'bagit')).code).toBe(2);
  });
});
