/** pm2 as the keeper of this host's workers, by its command: its library would cost every worker 40 MB. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LongshoreError } from '../errors.ts';
import { USUAL_APP } from './routing.ts';

const PROGRAM = join(import.meta.dirname, '../../node_modules/pm2/bin/pm2');
const ANSWER_WITHIN_MS = 30_000;

export interface KeptProcess {
  /** Larger for those that were added later. */
  pm_id: number;
  pid: number;
  status: string;
}

export interface Keeper {
  workers(): Promise<KeptProcess[]>;
  add(count: number): Promise<void>;
  /** Of one that has ended. */
  forget(pm_id: number): Promise<void>;
}

interface Listed {
  name: string;
  pm_id: number;
  pid: number;
  pm2_env: { status: string };
}

export const pm2Keeper: Keeper = {
  workers: async () => {
    // Warnings may stand before the list.
    const text = (await pm2('jlist')).replace(/^[^[]*(?=\[\{|\[\])/s, '');
    return (JSON.parse(text) as Listed[])
      .filter(({ name }) => name === USUAL_APP)
      .map(({ pm_id, pid, pm2_env }) => ({
        pm_id,
        pid,
        status: pm2_env.status,
      }))
      .toSorted((one, other) => one.pm_id - other.pm_id);
  },
  // Down, pm2 would take the oldest first, and kill what still runs after kill_timeout.
  add: async (count) => void (await pm2('scale', USUAL_APP, `+${count}`)),
  forget: async (pm_id) => void (await pm2('delete', String(pm_id))),
};

/** @throws E_NO_WORKER when no pm2 runs for this user: asking it would start one */
async function pm2(...args: string[]): Promise<string> {
  const home = process.env.PM2_HOME || join(homedir(), '.pm2');
  if (!existsSync(join(home, 'rpc.sock')))
    throw new LongshoreError('E_NO_WORKER', `pm2 does not run for this user on this host (${home})`);
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, ...args], {
    timeout: ANSWER_WITHIN_MS,
    maxBuffer: 64 * 1024 ** 2,
  });
  return stdout;
}
