import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makePlace, type Place } from '../support/place.ts';

const TRACE = new URL('../fixtures/trace-syncs.ts', import.meta.url).href;
const WORKERS = new URL('../../workers/', import.meta.url).href;

interface Traced {
  sync?: string;
  size?: number;
  beside?: string[];
  holds?: string[];
  rename?: string;
  to?: string;
}

/** What a process syncs and renames that runs `code`, in which `content(name)` loads a file of workers/content. */
function traced(place: Place, code: string): Traced[] {
  const trace = place.path('..trace');
  const whole = `
    const load = (name) => import(${JSON.stringify(WORKERS)} + name);
    const content = (name) => load('content/' + name);
    ${code}`;
  execFileSync(process.execPath, ['--input-type=module', '-e', whole], {
    cwd: place.folder,
    env: { ...process.env, NODE_OPTIONS: `--import=${TRACE}?to=${encodeURIComponent(trace)}` },
  });
  return readFileSync(trace, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Traced);
}

test('a file is on the disk before it has its name, and its name before the promise is kept', async () => {
  const place = await makePlace();
  writeFileSync(join(place.dir('files'), '.file.partial-x'), 'bytes');
  const done = traced(
    place,
    `const { publishFile } = await content('publish.ts');
     publishFile('files/.file.partial-x', 'files/file');`,
  );
  expect(done).toEqual([
    { sync: '.file.partial-x', size: 5, beside: ['.file.partial-x'] },
    { rename: '.file.partial-x', to: 'file' },
    { sync: 'files', holds: ['file'] },
  ]);
});

test('the name of a tree and of a link is on the disk, and only then goes what was there before', async () => {
  const place = await makePlace();
  for (const folder of ['trees/.tree.partial-1', 'trees/.tree.partial-2', 'links'])
    mkdirSync(place.path(folder), { recursive: true });
  const done = traced(
    place,
    `const { publishLink, publishTree } = await content('publish.ts');
     await publishTree('trees/.tree.partial-1', 'trees/tree');
     await publishTree('trees/.tree.partial-2', 'trees/tree');
     await publishLink('/somewhere', 'links/link', 'x');`,
  );
  expect(done.filter(({ sync }) => sync !== undefined)).toEqual([
    { sync: 'trees', holds: ['.tree.partial-2', 'tree'] },
    { sync: 'trees', holds: ['.tree.partial-2', 'tree'] },
    { sync: 'links', holds: ['link'] },
  ]);
});

test('an object that an archive says is deleted does not come back after a power failure', async () => {
  const place = await makePlace();
  for (const folder of ['archive', 'state']) place.dir(folder);
  writeFileSync(place.path('archive/.longshore-archive'), '');
  writeFileSync(place.path('archive/one.tar'), 'bytes');
  const done = traced(
    place,
    `const { createFilesystemArchive } = await load('archive/filesystem.ts');
     const archive = createFilesystemArchive({ root: 'archive', roots: ['archive'], state_dir: 'state' });
     for (let times = 0; times < 2; times++) await archive.delete('one.tar');`,
  );
  expect(done).toEqual([{ sync: 'archive', holds: ['.longshore-archive'] }]);
});

test('a copy, a bundle with its manifest and a staged bundle are on the disk with their last byte', async () => {
  const place = await makePlace();
  for (const name of ['one', 'two']) writeFileSync(join(place.dir('source'), name), randomBytes(300_000));
  for (const tree of ['near', 'from far']) place.dir(tree);
  const done = traced(
    place,
    `const { createReadStream, statSync } = await import('node:fs');
     const { copyBytes, syncFile } = await content('copy.ts');
     const { packBundle } = await content('pack/pack.ts');
     const { unpackBundle } = await content('unpack/unpack.ts');
     const digests = { member: ['blake3'], bundle: ['blake3'] };
     await copyBytes(createReadStream('source/one'), 'copied');
     await packBundle({ source: 'source', target: 'bundle', manifest: 'manifest', digests });
     await unpackBundle({ bundle: 'bundle', target: 'near', copy: 'staged' });
     const { size } = statSync('bundle');
     const open = () => createReadStream('bundle');
     await unpackBundle({ bundle: { name: 'far', size, open }, target: 'from far', copy: 'far' });
     await syncFile('source/two');`,
  );
  const sizes = Object.fromEntries(done.map(({ sync, size }) => [sync, size]));
  const { size } = statSync(place.path('bundle'));
  expect(sizes).toMatchObject({ copied: 300_000, bundle: size, staged: size, far: size, two: 300_000 });
  expect(sizes.manifest).toBe(statSync(place.path('manifest')).size);
});

test('a recalled file is on the disk before it has its name, alone as well', async () => {
  const place = await makePlace();
  const done = traced(
    place,
    `const { openRecallTarget } = await content('recall/target.ts');
     const target = await openRecallTarget('out', { force: true });
     const { file, path } = await target.create();
     await file.writeFile('bytes');
     await file.close();
     await target.add(path, { path: 'a', type: 'file', size: 5, mode: 0o644, mtime: '0' }, () => undefined);
     await target.publish();
     await target.close();`,
  );
  expect(done.filter(({ to }) => to !== 'claim')).toMatchObject([
    { sync: '0', size: 5 },
    { rename: '0', to: 'a' },
  ]);
});

test('each part that a server has confirmed is in the ledger on the disk before the next one counts', async () => {
  const place = await makePlace();
  const done = traced(
    place,
    `const { beginLedger } = await load('archive/s3/ledger.ts');
     const ledger = beginLedger('uploads/one.ndjson', { v: 1, upload_id: 'u' }, []);
     for (const number of [1, 2]) ledger.add({ number, size: 5, md5: 'm', etag: 'e' });
     ledger.close();`,
  );
  const line = `${JSON.stringify({ number: 1, size: 5, md5: 'm', etag: 'e' })}\n`.length;
  const head = `${JSON.stringify({ v: 1, upload_id: 'u' })}\n`.length;
  const sizes = done.filter(({ sync }) => sync?.includes('one.ndjson')).map(({ size }) => size);
  expect(sizes).toEqual([head, head + line, head + 2 * line]);
});
