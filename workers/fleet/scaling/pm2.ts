/** pm2 as the keeper of this host's workers, by its command: its library would cost every worker 40 MB. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { LongshoreError } from '../../errors.ts';

const root = join(import.meta.dirname, '../../..');
const PROGRAM = join(root, 'node_modules/pm2/bin/pm2');
const ANSWER_WITHIN_MS = 30_000;

export interface KeptProcess {
  /** The app that it is one of. */
  name: string;
  /** Larger for those that were added later. */
  pm_id: number;
  pid: number;
  status: string;
  /** In milliseconds, of the process that runs now. */
  started_at: number;
}

export interface Keeper {
  /** All that it keeps up on this host, also what is not ours. */
  list(): Promise<KeptProcess[]>;
  /** To an app that is there. */
  add(app: string, count: number): Promise<void>;
  /** Ends one that has not ended yet, within the time that pm2 gives it. */
  forget(pm_id: number): Promise<void>;
}

interface Listed {
  name: string;
  pm_id: number;
  pid: number;
  pm2_env: { status: string; pm_uptime?: number };
}

export const pm2Keeper: Keeper = {
  list: async () =>
    listIn(await pm2('jlist'))
      .map(({ name, pm_id, pid, pm2_env }) => ({
        name,
        pm_id,
        pid,
        status: pm2_env.status,
        started_at: pm2_env.pm_uptime ?? 0,
      }))
      .toSorted((one, other) => one.pm_id - other.pm_id),
  // Down, pm2 would take the oldest first, and kill what still runs after kill_timeout.
  add: async (app, count) => void (await pm2('scale', app, `+${count}`)),
  forget: async (pm_id) => void (await pm2('delete', String(pm_id))),
};

/** Warnings may stand before the list. */
function listIn(output: string): Listed[] {
  const text = output.replace(/^[^[]*(?=\[\{|\[\])/s, '');
  try {
    return JSON.parse(text) as Listed[];
  } catch (error) {
    const said = output.trim().slice(0, 200);
    throw new LongshoreError('E_NO_WORKER', `pm2 tells no list of its processes: ${said}`, { cause: error });
  }
}

/** @throws E_NO_WORKER when no pm2 runs for this user: asking it would start one */
async function pm2(...args: string[]): Promise<string> {
  const home = await livingPm2Home();
  if (home === null)
    throw new LongshoreError(
      'E_NO_WORKER',
      `no pm2 of this user runs on this host (looked in ${pm2Homes().join(', ')})`,
    );
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, ...args], {
    timeout: ANSWER_WITHIN_MS,
    maxBuffer: 64 * 1024 ** 2,
    env: { ...process.env, PM2_HOME: home },
  });
  return stdout;
}

const usualHome = (): string => join(homedir(), '.pm2');

/** Where pm2 may have its daemon: as its variable says, as `npm start` has it, or as pm2 has it by itself. */
export const pm2Homes = (): string[] => [
  ...new Set([process.env.PM2_HOME || join(root, 'var/pm2'), join(root, 'var/pm2'), usualHome()]),
];

/** The first in which a daemon answers. Its files say nothing: one that was killed leaves its socket and its number. */
export async function livingPm2Home(homes: readonly string[] = pm2Homes()): Promise<string | null> {
  for (const home of homes) if (await answers(join(home, 'rpc.sock'))) return home;
  return null;
}

async function answers(socket: string): Promise<boolean> {
  const connection = createConnection(socket);
  try {
    await once(connection, 'connect', { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    return true;
  } catch {
    return false;
  } finally {
    connection.destroy();
  }
}

/** The command as a person has to give it for the daemon of this folder. */
export const pm2Command = (home: string, command: string): string =>
  `${home === (process.env.PM2_HOME || usualHome()) ? '' : `PM2_HOME=${home} `}npx pm2 ${command}`;
