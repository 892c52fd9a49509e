/** Remotes of rclone for tests: a folder, and an sftp server of rclone's own. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import type { Place } from './place.ts';
import { freePorts } from './ports.ts';
import { until } from './until.ts';

export const hasRclone = (): boolean => spawnSync('rclone', ['version'], { stdio: 'ignore' }).status === 0;

export function localRemote(place: Place): { config_file: string; remote: string; folder: string } {
  const config_file = place.path('rclone.conf');
  const folder = place.dir('remote');
  writeFileSync(config_file, `[disk]\ntype = alias\nremote = ${folder}\n`);
  return { config_file, remote: 'disk:bundles', folder };
}

export interface SftpRemote {
  readonly config_file: string;
  readonly remote: string;
  readonly folder: string;
  readonly server: () => ChildProcess;
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
}

export async function sftpRemote(place: Place): Promise<SftpRemote> {
  const folder = place.dir('sftp');
  const [port = 0] = await freePorts(1);
  const config_file = place.path('rclone.conf');
  const hidden = execFileSync('rclone', ['obscure', 'secret'], { encoding: 'utf8' }).trim();
  writeFileSync(
    config_file,
    `[far]\ntype = sftp\nhost = 127.0.0.1\nport = ${port}\nuser = longshore\npass = ${hidden}\n`,
  );
  let server: ChildProcess | null = null;
  const start = async (): Promise<void> => {
    const args = [
      'serve',
      'sftp',
      folder,
      '--addr',
      `127.0.0.1:${port}`,
      '--user',
      'longshore',
      '--pass',
      'secret',
    ];
    const started = spawn('rclone', args, {
      stdio: 'ignore',
      env: { ...process.env, XDG_CACHE_HOME: place.path('cache') },
    });
    server = started;
    const asked = ['--config', config_file, 'lsjson', '--retries', '1', '--low-level-retries', '1', 'far:'];
    await until(() => spawnSync('rclone', asked, { stdio: 'ignore' }).status === 0, {
      what: 'the sftp server',
    });
  };
  const stop = async (): Promise<void> => {
    const running = server;
    server = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const closed = once(running, 'close');
    running.kill('SIGKILL');
    await closed;
  };
  await start();
  onTestFinished(stop);
  return {
    config_file,
    remote: 'far:bundles',
    folder,
    start,
    stop,
    server: () => {
      if (server === null) throw new Error('the sftp server is stopped');
      return server;
    },
  };
}
