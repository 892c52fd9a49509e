/** Bundles whose headers, sizes and maps lie: each is refused with a code, or comes out harmless, in bounded memory. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { expect, test } from 'vitest';
import { attacks, besieged, file, folder, link, surroundings, unpack } from './siege.ts';
import { base256, END, gnuLong, member, padded, pax, tar } from './tar-writer.ts';

attacks('extended headers', [
  ['100 MB claimed', tar(member({ type: 'x', size: 100 * 1024 ** 2, data: 'x' }), file('x')), 'corrupt'],
  [
    'a long name of 100 MB claimed',
    tar(member({ type: 'L', size: 100 * 1024 ** 2, data: 'x' }), file('x')),
    'corrupt',
  ],
  ['a negative size', tar(member({ type: 'x', size: base256(-1n, 12), data: 'x' }), file('x')), 'corrupt'],
  ['just too large', tar(pax({ comment: 'x'.repeat(1024 ** 2) }), file('x')), 'corrupt'],
  [
    'nested: the last one counts',
    tar(pax({ path: 'p' }), gnuLong('L', 'l'), pax({ path: 'q' }), file('x')),
    ['q f4'],
  ],
  ['global and own', tar(pax({ path: 'g' }, 'g'), pax({ path: 'own' }), file('x')), ['own f4']],
  ['an empty value takes back', tar(pax({ path: '../x' }), pax({ path: '' }), file('x')), ['x f4']],
  ['a length of zero', tar(pax('0 path=x\n'), file('x')), 'corrupt'],
  ['a negative length', tar(pax('-9 path=x\n'), file('x')), 'corrupt'],
  ['a length that is too long', tar(pax('500 path=x\n'), file('x')), 'corrupt'],
  ['a length that is too short', tar(pax('5 path=x\n'), file('x')), 'corrupt'],
  ['a length beyond 2^53', tar(pax('99999999999999999999 path=x\n'), file('x')), 'corrupt'],
  ['a length that is no number', tar(pax('ten path=x\n'), file('x')), 'corrupt'],
  ['no length', tar(pax(' path=x\n'), file('x')), 'corrupt'],
  ['no equals sign', tar(pax('9 pathx.\n'), file('x')), 'corrupt'],
  ['no newline', tar(pax('9 path=xy'), file('x')), 'corrupt'],
  ['letters only', tar(pax('x'.repeat(600)), file('x')), 'corrupt'],
  ['a negative file size', tar(pax({ size: '-1' }), file('x')), 'corrupt'],
  ['a hexadecimal file size', tar(pax({ size: '0x10' }), file('x')), 'corrupt'],
  ['half a byte', tar(pax({ size: '1.5' }), file('x')), 'corrupt'],
  ['a file size beyond 2^53', tar(pax({ size: '9'.repeat(20) }), file('x')), 'corrupt'],
  ['an endless file size', tar(pax({ size: '9'.repeat(400) }), file('x')), 'corrupt'],
  ['a file size of letters', tar(pax({ size: 'many' }), file('x')), 'corrupt'],
  ['an absurd time', tar(pax({ mtime: '9'.repeat(300) }), file('x')), 'corrupt'],
  ['an endless time, of a folder', tar(pax({ mtime: '9'.repeat(400) }), folder('x')), 'corrupt'],
  ['a time of letters', tar(pax({ mtime: 'soon' }), link('x', 'y')), 'corrupt'],
  ['a time before 1970', tar(pax({ mtime: '-1234.5' }), file('x')), ['x f4']],
  ['without a member', Buffer.concat([pax({ path: 'x' }), END]), 'corrupt'],
]);

attacks('headers', [
  ['a wrong checksum', tar(member({ wrong: 1 })), 'corrupt'],
  ['a wrong checksum of the second member', tar(file('x'), member({ wrong: -1 })), 'corrupt'],
  ['noise', Buffer.from(Array.from({ length: 2048 }, (_, at) => (at * 7919) % 251)), 'corrupt'],
  ['a size of letters', tar(member({ size: Buffer.from('elephants!!\0') })), 'corrupt'],
  ['a negative size', tar(member({ size: base256(-5n, 12) })), 'corrupt'],
  ['a size beyond 2^53', tar(member({ size: base256(2n ** 54n, 12) })), 'corrupt'],
  ['a size beyond the end', tar(member({ size: 1_000_000, data: 'x' })), 'corrupt'],
  ['a size that takes the end mark for data', tar(member({ size: 1536, data: 'x' })), 'corrupt'],
  ['a size that takes half of it', tar(member({ size: 1024, data: 'x' })), ['x f1024']],
  ['a time of letters', tar(member({ mtime: Buffer.from('yesterday!!\0') })), 'corrupt'],
  ['an absurd time', tar(member({ name: 'x', mtime: base256(-(2n ** 52n), 12) })), ['x f0']],
  ['a mode of letters', tar(member({ mode: Buffer.from('rwxr-xr\0') })), 'corrupt'],
  [
    'a folder with data: what follows is read as headers',
    tar(member({ name: 'd', type: '5', data: 'x' })),
    'corrupt',
  ],
  [
    'a link with a size but no data',
    tar(member({ type: '2', link: 'y', size: 4096 }), file('z')),
    ['x l1 y', 'z f4'],
  ],
]);

const whole = tar(folder('d'), file('d/x', 'x'.repeat(700)), file('y'));
attacks('bundles that are cut short', [
  ['nothing', Buffer.alloc(0), 'corrupt'],
  ['one byte', whole.subarray(0, 1), 'corrupt'],
  ['in the first header', whole.subarray(0, 300), 'corrupt'],
  ['between header and data', whole.subarray(0, 1024), 'corrupt'],
  ['in the data', whole.subarray(0, 1024 + 600), 'corrupt'],
  ['in the padding', whole.subarray(0, 1024 + 710), 'corrupt'],
  ['behind a member', whole.subarray(0, 2048), 'corrupt'],
  ['in the last header', whole.subarray(0, 2048 + 100), 'corrupt'],
  ['without an end mark', whole.subarray(0, whole.length - 1024), 'corrupt'],
  ['in an extended header', pax({ path: 'x'.repeat(2000) }).subarray(0, 1024), 'corrupt'],
  ['behind an extended header', pax({ path: 'x' }), 'corrupt'],
  ['half an end mark is one', whole.subarray(0, whole.length - 512), ['d d', 'd/x f700', 'y f4']],
  ['an end mark alone', END, 'corrupt'],
  ['zeros', Buffer.alloc(10_240), 'corrupt'],
  ['one block of zeros', Buffer.alloc(512), 'corrupt'],
  [
    'what follows the end is no member',
    Buffer.concat([whole, file('../victim')]),
    ['d d', 'd/x f700', 'y f4'],
  ],
]);

/** Format 1.0: the map stands before the data. */
const sparse = (map: string, size: string | number, data = ''): Buffer =>
  tar(
    pax({
      'GNU.sparse.major': '1',
      'GNU.sparse.minor': '0',
      'GNU.sparse.name': 's',
      'GNU.sparse.realsize': String(size),
    }),
    member({ data: Buffer.concat([padded(Buffer.from(map)), Buffer.from(data)]) }),
  );
/** Format 0.1: the map stands in the extended header. */
const mapped = (map: string, size: string | number, data = ''): Buffer =>
  tar(pax({ 'GNU.sparse.size': String(size), 'GNU.sparse.map': map }), file('s', data));
/** The format of GNU tar before pax: parts in the header, and in further blocks. */
const old = (parts: readonly (readonly [number, number])[], size: bigint, data = ''): Buffer => {
  const entry = ([offset, length]: readonly [number, number]) =>
    Buffer.concat([base256(BigInt(offset), 12), base256(BigInt(length), 12)]);
  const further = Array.from({ length: Math.ceil(Math.max(0, parts.length - 4) / 21) }, (_, block) => {
    const bytes = Buffer.alloc(512);
    Buffer.concat(parts.slice(4 + block * 21, 25 + block * 21).map(entry)).copy(bytes);
    bytes[504] = 4 + (block + 1) * 21 < parts.length ? 1 : 0;
    return bytes;
  });
  const at = {
    386: Buffer.concat(parts.slice(0, 4).map(entry)),
    482: Buffer.of(further.length > 0 ? 1 : 0),
    483: base256(size, 12),
  };
  const header = member({ name: 's', type: 'S', magic: 'ustar  \0', size: data.length, at });
  return Buffer.concat([header, ...further, padded(Buffer.from(data)), END]);
};

attacks('files with holes', [
  ['of 2^60 bytes', sparse('0\n', 2 ** 60), 'corrupt'],
  ['of 2^60 bytes, in the old format', old([], 2n ** 60n), 'corrupt'],
  ['of 2^60 bytes, in format 0.1', mapped('0,0', String(2n ** 60n)), 'corrupt'],
  ['of 2^50 bytes', sparse('0\n', 2 ** 50), 'unsafe'],
  ['of a terabyte', sparse('0\n', 2 ** 40), 'unsafe'],
  ['of ten gigabytes, which is nothing', sparse('0\n', 1e10), ['s f10000000000']],
  ['of a negative size', sparse('0\n', -1), 'corrupt'],
  [
    'without a size',
    tar(pax({ 'GNU.sparse.major': '1' }), member({ data: padded(Buffer.from('0\n')) })),
    'corrupt',
  ],
  [
    'of an unknown format',
    tar(pax({ 'GNU.sparse.major': '7', 'GNU.sparse.realsize': '4' }), file('s')),
    'corrupt',
  ],
  ['with parts that overlap', sparse('2\n0\n4\n2\n4\n', 10, 'evilevil'), 'corrupt'],
  ['with parts out of order', sparse('2\n6\n4\n0\n4\n', 10, 'evilevil'), 'corrupt'],
  ['with a part beyond the end', sparse('1\n8\n4\n', 10, 'evil'), 'corrupt'],
  ['with a negative part', sparse('1\n4\n-4\n', 10, 'evil'), 'corrupt'],
  ['with a part at a negative place', mapped('-4,4', 10, 'evil'), 'corrupt'],
  ['with a part beyond 2^53', mapped('9007199254740993,4', 10, 'evil'), 'corrupt'],
  ['with a part of letters', mapped('zero,four', 10, 'evil'), 'corrupt'],
  ['with more data than parts', sparse('1\n0\n2\n', 10, 'evil'), 'corrupt'],
  ['with fewer data than parts', sparse('1\n0\n8\n', 10, 'evil'), 'corrupt'],
  ['with a hexadecimal part', mapped('0x0,4', 10, 'evil'), 'corrupt'],
  ['with a place that is left out', mapped(',4', 10, 'evil'), 'corrupt'],
  ['with a count of letters', sparse('none\n0\n4\n', 10, 'evil'), 'corrupt'],
  ['with half a part', mapped('0', 10, 'evil'), 'corrupt'],
  ['with half a part behind a whole one', mapped('0,4,5', 10, 'evil'), 'corrupt'],
  ['with a count that lies', sparse('1000000\n0\n4\n', 10, 'evil'), 'corrupt'],
  ['with an endless count', sparse('9'.repeat(400), 10, 'evil'), 'corrupt'],
  ['with an endless line', sparse('1'.repeat(2_000_000), 10, 'evil'), 'corrupt'],
  [
    'with parts that overlap, in the old format',
    old(
      [
        [0, 4],
        [2, 4],
      ],
      10n,
      'evilevil',
    ),
    'corrupt',
  ],
  ['with a part beyond the end, in the old format', old([[8, 4]], 10n, 'evil'), 'corrupt'],
  [
    'with a map that has no end, in the old format',
    old(
      Array.from({ length: 100 }, () => [0, 0] as const),
      10n,
    ).subarray(0, 1536),
    'corrupt',
  ],
  [
    'that are sound',
    old(
      [
        [0, 1],
        [2, 1],
        [4, 1],
        [6, 1],
        [8, 1],
        [10, 1],
      ],
      12n,
      'abcdef',
    ),
    ['s f12'],
  ],
  ['that are sound, in format 0.1', mapped('1,4,8,4', 20, 'goodgood'), ['s f20']],
]);

const holes = (count: number, size: number): Buffer =>
  Buffer.concat([
    ...Array.from({ length: count }, (_, at) =>
      Buffer.concat([pax({ 'GNU.sparse.size': String(size), 'GNU.sparse.map': '0,0' }), file(`s${at}`, '')]),
    ),
    END,
  ]);

test.each([
  ['a hundred of 8 TiB, of which nothing is known', holes(100, 8 * 2 ** 40), {}, 'E_BUNDLE_UNSAFE'],
  ['many small ones, of which nothing is known', holes(100, 2 ** 30), {}, 'E_BUNDLE_UNSAFE'],
  ['one byte more than the catalog says', holes(3, 2 ** 40), { bytes: 3 * 2 ** 40 - 1 }, 'E_BUNDLE_UNSAFE'],
  ['as many as the catalog says', holes(3, 2 ** 40), { bytes: 3 * 2 ** 40 }, 'sound'],
  ['more than the file system holds', holes(1, 2 ** 50), { bytes: 2 ** 50 }, 'E_NO_SPACE'],
])('holes: %s', async (_, bundle, known, outcome) => {
  const place = await besieged();
  writeFileSync(place.path('bundle.tar'), bundle);
  const unpacking = unpack(place, { expect: known });
  expect(
    await unpacking.then(
      () => 'sound',
      ({ code }: { code: string }) => code,
    ),
  ).toBe(outcome);
});

/** Writes a bundle too large to be made in memory, part by part. */
function write(path: string, parts: Iterable<Buffer>): void {
  const fd = openSync(path, 'w');
  for (const part of parts) writeSync(fd, part);
  closeSync(fd);
}

const BOMBS: Record<string, [() => Iterable<Buffer>, string]> = {
  'a million parts of a file with holes': [
    () => [
      old(
        Array.from({ length: 1_000_000 }, (_, at) => [at * 4, 1]),
        4_000_000n,
        'x'.repeat(1_000_000),
      ),
    ],
    'sound',
  ],
  'two million parts': [
    () => [
      old(
        Array.from({ length: 2_000_000 }, () => [1, 0] as const),
        10n,
      ),
    ],
    'E_BUNDLE_CORRUPT',
  ],
  'a map of a megabyte': [() => [sparse(`250000\n${'0\n0\n'.repeat(250_000)}`, 10)], 'sound'],
  '300 global headers of a megabyte, each with other keys': [
    function* () {
      for (let at = 0; at < 300; at++)
        // As one text: millions of buffers take longer to make than the bundle takes to unpack. Each record has 16 bytes.
        yield pax(
          Array.from(
            { length: 40_000 },
            (_, key) => `16 k${String(at * 40_000 + key).padStart(9, '0')}=v\n`,
          ).join(''),
          'g',
        );
      yield tar(file('x'));
    },
    'sound',
  ],
  'attributes of 420 MB before one member': [
    function* () {
      for (let at = 0; at < 420; at++) yield pax({ [`SCHILY.xattr.user.${at}`]: 'x'.repeat(1_000_000) });
      yield tar(file('x'));
    },
    'sound',
  ],
  'attributes of 420 MB in global headers': [
    function* () {
      for (let at = 0; at < 420; at++) yield pax({ [`SCHILY.xattr.user.${at}`]: 'x'.repeat(1_000_000) }, 'g');
      yield tar(file('x'));
    },
    'sound',
  ],
  '300 members with attributes of a megabyte': [
    function* () {
      const attributes = pax({ 'SCHILY.xattr.user.x': 'x'.repeat(1_000_000) });
      for (let at = 0; at < 300; at++) yield Buffer.concat([attributes, file(`x${at}`)]);
      yield END;
    },
    'sound',
  ],
  '100,000 headers before one member': [
    function* () {
      const each = pax({ path: '../victim', comment: 'x'.repeat(300) });
      for (let at = 0; at < 100; at++) yield Buffer.concat(Array<Buffer>(1000).fill(each));
      yield tar(file('x'));
    },
    'E_BUNDLE_UNSAFE',
  ],
};

test.each(Object.keys(BOMBS))('%s: in bounded memory', async (what) => {
  const place = await besieged();
  const [parts, outcome] = BOMBS[what] as (typeof BOMBS)[string];
  write(place.path('bundle.tar'), parts());
  const before = surroundings(place);
  const script = `
    const { unpackBundle } = await import(${JSON.stringify(new URL('../../workers/content/unpack/unpack.ts', import.meta.url).href)});
    const [bundle, target] = process.argv.slice(1);
    const outcome = await unpackBundle({ bundle, target }).then(() => 'sound', (error) => error.code);
    console.log(outcome, process.resourceUsage().maxRSS);
  `;
  const args = ['--input-type=module', '-e', script, place.path('bundle.tar'), place.path('a/b/out')];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const [said, kilobytes] = stdout.trim().split(' ');
  expect(said, stderr).toBe(outcome);
  expect(Number(kilobytes)).toBeLessThan(400_000);
  expect(surroundings(place)).toBe(before);
});
