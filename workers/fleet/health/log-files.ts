/**
 * The log files of this host: pm2 and Redis append to them for years. One that has grown large is copied aside and cut to
 * nothing, which needs no word with those who have it open; the oldest copies go.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../../../config/index.ts';
import type { Logger } from '../../log.ts';
import { embeddedFolder } from '../../queue/embedded.ts';
import type { QueueSide } from '../../queue/side.ts';
import { takeLock } from '../../queue/token-lock.ts';
import { troubleTeller } from '../../trouble.ts';
import { type Repetition, repeat } from '../repeat.ts';

const LOOK_EVERY_SECONDS = 60;
const CHUNK = 1024 ** 2;

interface Parts {
  config: Config;
  side: Pick<QueueSide, 'redis' | 'refusals'>;
  log: Logger;
  /** Of this worker. */
  name: string;
  host: string;
}

/** Every worker of a host may do it, and one at a time does. */
export function keepLogsSmall({ config, side, log, name, host }: Parts): Repetition {
  const turn = `${config.queue.prefix}:${config.app_id}:logs:${host}`;
  return repeat(
    LOOK_EVERY_SECONDS,
    async () => {
      if (!(await takeLock(side.redis, turn, name, LOOK_EVERY_SECONDS * 900))) return;
      for (const file of await rotateLogs(config)) log.info({ file }, 'a log file was set aside');
    },
    troubleTeller(log, {
      what: 'log files could not be kept small',
      end: 'log files are kept small again',
      level: 'warn',
      except: side.refusals.met,
    }),
  );
}

/** Answers those that were large. */
export async function rotateLogs({ state_dir, logs }: Pick<Config, 'state_dir' | 'logs'>): Promise<string[]> {
  const { max_bytes, keep } = logs;
  if (max_bytes === null) return [];
  const large = (await logFilesIn(state_dir)).filter((file) => sizeOf(file) > max_bytes);
  for (const file of large) await setAside(file, keep);
  return large;
}

/** Of pm2's apps (ecosystem.config.js), and of the embedded Redis. */
async function logFilesIn(state_dir: string): Promise<string[]> {
  const folder = join(state_dir, 'log');
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []; // Nothing runs under pm2.
    throw error;
  });
  return [
    ...names.filter((name) => /\.(log|err)$/.test(name)).map((name) => join(folder, name)),
    join(embeddedFolder({ state_dir }), 'redis.log'),
  ];
}

const sizeOf = (file: string): number => {
  const stats = statSync(file, { throwIfNoEntry: false });
  return stats?.isFile() === true ? stats.size : 0;
};

/** A crash in between leaves lines twice, never none. */
async function setAside(file: string, keep: number): Promise<void> {
  const copy = `${file}.new`;
  rmSync(copy, { force: true });
  await copyFile(file, copy, constants.COPYFILE_FICLONE);
  for (let at = keep; at > 1; at -= 1) renameIfThere(`${file}.${at - 1}`, `${file}.${at}`);
  renameSync(copy, `${file}.1`);
  takeRest(file, `${file}.1`);
}

/** What came during the copy, and then the cut: without a turn of the event loop, so that hardly a line falls in between. */
function takeRest(file: string, copy: string): void {
  const from = openSync(file, 'r+');
  const to = openSync(copy, 'a');
  try {
    const buffer = Buffer.alloc(CHUNK);
    for (let at = fstatSync(to).size; ; ) {
      const length = readSync(from, buffer, 0, CHUNK, at);
      if (length === 0) break;
      writeSync(to, buffer, 0, length);
      at += length;
    }
    ftruncateSync(from);
  } finally {
    closeSync(from);
    closeSync(to);
  }
}

function renameIfThere(from: string, to: string): void {
  if (sizeOf(from) > 0) renameSync(from, to);
}
