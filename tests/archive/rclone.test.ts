import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Archive, originPath } from '../../workers/archive/contract.ts';
import { createRcloneArchive, type RcloneArchiveOptions } from '../../workers/archive/rclone.ts';
import { makePlace, type Place } from '../support/place.ts';
import { hasRclone, localRemote, sftpRemote } from '../support/rclone.ts';
import { until } from '../support/until.ts';
import { archiveBattery } from './battery.ts';

const KEY = '/archive/2026/run1.tar';
const put = { task_id: 'task-0001' };
const MB = 1024 * 1024;

function openRemote(
  place: Place,
  { config_file, remote }: { config_file: string; remote: string },
  options: Partial<RcloneArchiveOptions> = {},
): Archive {
  return createRcloneArchive({
    name: 'cloud',
    rclone: 'rclone',
    remote,
    config_file,
    args: [],
    stall_seconds: 60,
    state_dir: place.path('state'),
    ...options,
  });
}

describe.skipIf(!hasRclone())('rclone', () => {
  archiveBattery('rclone, local', async (place) => {
    const remote = localRemote(place);
    return {
      place,
      open: () => openRemote(place, remote),
      key: (name) => `/archive/2026/${name}`,
      takeAway: async () => renameSync(remote.folder, place.path('away')),
      bringBack: async () => {
        rmSync(remote.folder, { recursive: true, force: true });
        renameSync(place.path('away'), remote.folder);
      },
    };
  });

  archiveBattery('rclone, sftp', async (place) => {
    const remote = await sftpRemote(place);
    return {
      place,
      open: () => openRemote(place, remote),
      key: (name) => `/archive/2026/${name}`,
      takeAway: remote.stop,
      bringBack: remote.start,
    };
  });

  test('a server that stops answering in the middle is an outage, and nothing of the put is visible', async () => {
    const place = await makePlace();
    const remote = await sftpRemote(place);
    const archive = openRemote(place, remote, { stall_seconds: 3 });
    await archive.put('/archive/2026/first.tar', { stream: chunks(1), size: null }, put);
    const stream = async function* (): AsyncGenerator<Buffer> {
      for (let sent = 0; sent < 400; sent++) {
        if (sent === 40) remote.server().kill('SIGSTOP');
        yield randomBytes(MB);
      }
    };
    const putting = archive.put(KEY, { stream: stream(), size: null }, put);
    await expect(putting).rejects.toMatchObject({
      code: 'E_ARCHIVE_UNAVAILABLE',
      message: 'rclone rcat on far:bundles moved nothing for 3 s',
    });
    remote.server().kill('SIGCONT');
    expect(existsSync(join(remote.folder, 'bundles', KEY))).toBe(false);
    await archive.put(KEY, { stream: chunks(2), size: null }, { task_id: 'task-0002' });
    expect(readdirSync(join(remote.folder, 'bundles/archive/2026')).sort()).toEqual([
      'first.tar',
      'run1.tar',
    ]);
  });

  test('a connection that is lost while an object is read is no end of the object', async () => {
    const place = await makePlace();
    const remote = await sftpRemote(place);
    const archive = openRemote(place, remote, { args: ['--sftp-chunk-size', '32k'] });
    await archive.put(KEY, { stream: chunks(60), size: null }, put);
    const read = async (): Promise<number> => {
      let got = 0;
      for await (const part of archive.read(KEY, {})) {
        if (got === 0) await remote.stop();
        got += part.length;
      }
      return got;
    };
    await expect(read()).rejects.toMatchObject({
      code: expect.stringMatching(/^E_(ARCHIVE_UNAVAILABLE|TRANSFER)$/),
    });
  });

  test.each(['cat', 'rcat', 'moveto'])(
    'a remote that goes away between a look and the %s after it is an outage',
    async (verb) => {
      const place = await makePlace();
      const remote = localRemote(place);
      const archive = openRemote(place, remote);
      const bytes = randomBytes(MB);
      await archive.put(KEY, { stream: of(bytes), size: null }, put);
      const rclone = place.path('rclone.sh');
      const away = `case " $* " in *" ${verb} "*) mv '${remote.folder}' '${place.path('away')}' && mkdir '${remote.folder}';; esac`;
      writeFileSync(rclone, `#!/bin/sh\n${away}\nexec rclone "$@"\n`, { mode: 0o755 });
      const unlucky = openRemote(place, remote, { rclone });
      const act =
        verb === 'cat'
          ? collectBytes(unlucky.read(KEY, {}))
          : unlucky.put(KEY, { stream: of(randomBytes(MB)), size: null }, put);
      await expect(act).rejects.toMatchObject({ code: 'E_ARCHIVE_UNAVAILABLE', class: 'retryable' });
      rmSync(remote.folder, { recursive: true });
      renameSync(place.path('away'), remote.folder);
      expect((await collectBytes(archive.read(KEY, {}))).equals(bytes)).toBe(true);
    },
  );

  test('what comes short, there or here, is refused although rclone ended well', async () => {
    const place = await makePlace();
    const remote = localRemote(place);
    const archive = openRemote(place, remote);
    const bytes = randomBytes(MB);
    await archive.put(KEY, { stream: of(bytes), size: null }, put);
    const [rclone, file] = [place.path('rclone.sh'), place.path('file')];
    const cut = `find '${remote.folder}' -name '.*.partial-*' -exec truncate -s 1000 {} +`;
    const verbs = `*" cat "*) rclone "$@" | head -c 1000;; *" rcat "*|*" copyto "*) rclone "$@" && ${cut};;`;
    writeFileSync(rclone, `#!/bin/sh\ncase " $* " in ${verbs} *) exec rclone "$@";; esac\n`, { mode: 0o755 });
    writeFileSync(file, randomBytes(MB));
    const short = openRemote(place, remote, { rclone });
    for (const act of [
      () => short.put(KEY, { stream: of(randomBytes(MB)), size: null }, put),
      () => short.put(`${KEY}.2`, { file }, put),
      () => collectBytes(short.read(KEY, {})),
    ])
      await expect(act()).rejects.toMatchObject({ code: 'E_TRANSFER' });
    expect((await collectBytes(archive.read(KEY, {}))).equals(bytes)).toBe(true);
    expect(await archive.stat(`${KEY}.2`)).toBeNull();
  });

  test('what a dead attempt left goes with the object, also when it never came to one', async () => {
    const place = await makePlace();
    const remote = localRemote(place);
    const archive = openRemote(place, remote);
    await archive.put(KEY, { stream: chunks(1), size: null }, put);
    const folder = join(remote.folder, 'bundles/archive/2026');
    const leaves = (): void => writeFileSync(join(folder, '.run1.tar.partial-deadbeef'), 'half');
    writeFileSync(join(folder, '.run10.tar.partial-deadbeef'), 'half of another');
    for (const found of [true, false]) {
      leaves();
      expect(await archive.delete(KEY)).toBe(found);
      expect(readdirSync(folder)).toEqual(['.run10.tar.partial-deadbeef']);
    }
  });

  test('a process that is killed during a put leaves nothing visible, and the next put cleans up', async () => {
    const place = await makePlace();
    const remote = localRemote(place);
    const script = `
      const { createRcloneArchive } = await import(${JSON.stringify(new URL('../../workers/archive/rclone.ts', import.meta.url).href)});
      const [config_file, remote, state_dir, key] = process.argv.slice(1);
      const archive = createRcloneArchive({ name: 'cloud', rclone: 'rclone', remote, config_file, args: [],
        stall_seconds: 60, state_dir });
      async function* endless() { for (;;) yield Buffer.alloc(1 << 20, 1); }
      await archive.put(key, { stream: endless(), size: null }, { task_id: 'dead0000' });
    `;
    const args = [
      '--input-type=module',
      '-e',
      script,
      remote.config_file,
      remote.remote,
      place.path('state'),
      KEY,
    ];
    const child = spawn(process.execPath, args, { stdio: 'inherit', detached: true });
    const folder = join(remote.folder, 'bundles/archive/2026');
    await until(() => existsSync(folder) && readdirSync(folder).length > 0, { what: 'the first bytes' });
    process.kill(-(child.pid as number), 'SIGKILL');
    await once(child, 'close');
    const archive = openRemote(place, remote);
    expect(await archive.stat(KEY)).toBeNull();
    const bytes = randomBytes(1000);
    writeFileSync(place.path('file'), bytes);
    await archive.put(KEY, { file: place.path('file') }, { task_id: 'live0000' });
    expect(readdirSync(folder)).toEqual(['run1.tar']);
    expect(readFileSync(join(folder, 'run1.tar')).equals(bytes)).toBe(true);
  });

  describe('a get whose process was killed', () => {
    /** A bundle of 140 MB, of which another process has fetched a part. */
    const killed = async () => {
      const place = await makePlace();
      const remote = localRemote(place);
      const calls = place.path('calls');
      // Says what it is asked for, and gives a part of an object slowly enough to be killed in it.
      const program = place.path('rclone');
      writeFileSync(
        program,
        `#!/bin/sh\necho "$@" >> '${calls}'\nif [ -e '${place.path('slow')}' ]; then exec rclone --bwlimit 40M "$@"; fi\nexec rclone "$@"\n`,
        { mode: 0o755 },
      );
      const archive = openRemote(place, remote, { rclone: program });
      await archive.put(KEY, { stream: chunks(140), size: null }, put);
      const target = place.path('fetched');
      writeFileSync(place.path('slow'), '');
      const script = `
        const { createRcloneArchive } = await import(${JSON.stringify(new URL('../../workers/archive/rclone.ts', import.meta.url).href)});
        const [rclone, config_file, remote, state_dir, key, target] = process.argv.slice(1);
        await createRcloneArchive({ name: 'cloud', rclone, remote, config_file, args: [], stall_seconds: 60, state_dir }).get(key, target, {});
      `;
      const args = [program, remote.config_file, remote.remote, place.path('state'), KEY, target];
      const child = spawn(process.execPath, ['--input-type=module', '-e', script, ...args], {
        stdio: 'inherit',
      });
      const half = () => statSync(target, { throwIfNoEntry: false })?.size ?? 0;
      await until(() => half() > 80 * MB, { what: 'half of the object' });
      child.kill('SIGKILL');
      await once(child, 'close');
      rmSync(place.path('slow'));
      const before = readFileSync(calls, 'utf8').length;
      const offsets = () =>
        [
          ...readFileSync(calls, 'utf8')
            .slice(before)
            .matchAll(/cat --offset (\d+)/g),
        ].map((one) => Number(one[1]));
      const stored = join(remote.folder, 'bundles', KEY);
      return { archive, target, half: half(), offsets, stored };
    };

    test('goes on with what is proven, at most 64 MiB behind it', async () => {
      const { archive, target, half, offsets, stored } = await killed();
      await archive.get(KEY, target, {});
      expect(half).toBeLessThan(140 * MB);
      expect(offsets()).toEqual([expect.any(Number)]);
      expect(offsets()[0]).toBeGreaterThan(half - 65 * MB);
      expect(readFileSync(target).equals(readFileSync(stored))).toBe(true);
      expect(existsSync(originPath(target))).toBe(false);
    });

    test('begins anew where what was kept, or the object, is another', async () => {
      const { archive, target, offsets, stored } = await killed();
      const kept = readFileSync(target);
      const origin = readFileSync(originPath(target));
      kept[MB] = (kept[MB] ?? 0) ^ 1;
      writeFileSync(target, kept);
      await archive.get(KEY, target, {});
      expect(readFileSync(target).equals(readFileSync(stored))).toBe(true);
      writeFileSync(stored, randomBytes(140 * MB));
      writeFileSync(originPath(target), origin);
      await archive.get(KEY, target, {});
      expect(offsets()).toEqual([0, 0]);
      expect(readFileSync(target).equals(readFileSync(stored))).toBe(true);
    });
  });

  test('remotes with long names that begin alike are marked each for itself', async () => {
    const place = await makePlace();
    const { config_file, remote, folder } = localRemote(place);
    const long = 'a'.repeat(220);
    for (const name of ['one', 'other']) {
      const archive = openRemote(place, { config_file, remote: `${remote}/${long}/${name}` });
      await archive.prepare(KEY);
      expect(existsSync(join(folder, 'bundles', long, name, '.longshore-archive'))).toBe(true);
    }
  });

  test('a wrong password is refused by name, and stands in no message', async () => {
    const place = await makePlace();
    const remote = await sftpRemote(place);
    const pass = execFileSync('rclone', ['obscure', 'wrong'], { encoding: 'utf8' }).trim();
    const archive = openRemote(place, remote, { args: ['--sftp-pass', pass] });
    const error = await archive.stat(KEY).then(
      () => null,
      (thrown: unknown) => thrown as Error & { code: string; fields: unknown },
    );
    expect(error?.code).toBe('E_ARCHIVE_DENIED');
    expect(JSON.stringify([error?.message, error?.fields])).not.toContain(pass);
  });
});

test('a missing rclone is said by name', async () => {
  const place = await makePlace();
  const remote = { config_file: place.path('none'), remote: 'x:' };
  const archive = openRemote(place, remote, { rclone: '/nonexistent/rclone' });
  await expect(archive.stat(KEY)).rejects.toMatchObject({ code: 'E_TOOL_MISSING' });
});

async function* chunks(count: number): AsyncGenerator<Buffer> {
  for (let sent = 0; sent < count; sent++) yield randomBytes(MB);
}

async function* of(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function collectBytes(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}
