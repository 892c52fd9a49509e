import { spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { atWork } from './at-work.ts';
import { type Ground, type GroundNeeds, succeeds, until } from './ground.ts';
import { counted } from '../cli/format.ts';

type At = Ground & { id: string };

export interface Fault {
  readonly name: string;
  readonly done: string;
  readonly expected: string;
  /** What was seen. @throws what went otherwise than expected */
  readonly run: (ground: At) => Promise<string>;
  readonly needs?: GroundNeeds;
}

/** This host does not let the drill make the fault. */
export class Skipped extends Error {}

const LANDED = 'the step runs again, no retry is used, the copy is identical';
/** Large enough that staging takes more than a moment. */
const WORK: GroundNeeds = { size: 64 * 1024 ** 2 };

export const FAULTS: readonly Fault[] = [
  {
    name: 'worker-kill',
    done: 'kill -9 of the worker of a step that waits, and of one that writes the staged copy',
    expected: LANDED,
    needs: WORK,
    run: async (ground) => {
      const first = await killed(ground, 'worker');
      return `${first}; at work: ${await atWork(ground, 'lost', ({ worker }) => kill(worker))}`;
    },
  },
  {
    name: 'child-kill',
    done: 'kill -9 of the process of a step that waits, and of one that writes the staged copy',
    expected: LANDED,
    needs: WORK,
    run: async (ground) => {
      const first = await killed(ground, 'child');
      return `${first}; at work: ${await atWork(ground, 'lost', ({ child }) => kill(child))}`;
    },
  },
  {
    name: 'redis-restart',
    done: 'kill -9 and restart of the Redis of the drill while a step waits, and while one writes the staged copy',
    needs: WORK,
    expected: 'the workflow ends by itself, the copy is identical',
    run: async (ground) => {
      const restart = async (): Promise<void> => {
        process.kill(ground.redis.pid, 'SIGKILL');
        await ground.redis.exited;
        await ground.startRedis();
      };
      await held(ground);
      await restart();
      ground.go();
      return `${await landed(ground)}; at work: ${await atWork(ground, 'outlived', restart)}`;
    },
  },
  {
    name: 'half-open',
    done: 'every connection of the workers to Redis falls silent and stays open, while a step waits, and while one writes the staged copy',
    expected:
      'the connections are opened anew (queue.silence_seconds), the workflow ends by itself, the copy is identical',
    needs: { ...WORK, proxied: true },
    run: async (ground) => {
      const silence = (): void => ground.proxy?.silence(() => true);
      await held(ground);
      silence();
      const cut = ground.proxy?.silenced() ?? 0;
      if (cut === 0) throw new Error('no connection could be cut');
      ground.go();
      return `${counted(cut, 'connection')} cut; ${await landed(ground)}; at work: ${await atWork(ground, 'outlived', silence)}`;
    },
  },
  {
    name: 'vanished-mount',
    done: 'the archive is replaced by an empty folder, then brought back',
    expected: 'an outage (E_ARCHIVE_UNAVAILABLE), no missing bundle; then it lands',
    run: async (ground) => {
      await held(ground);
      renameSync(ground.archive, `${ground.archive}.away`);
      mkdirSync(ground.archive);
      ground.go();
      const codes = await until(ground, 'the archive to be missed', async () => {
        const text = JSON.stringify(await ground.engine.show(ground.id, { prev_task_runs: true }));
        return text.match(/E_ARCHIVE_UNAVAILABLE|E_BUNDLE_MISSING/)?.[0];
      });
      rmSync(ground.archive, { recursive: true });
      renameSync(`${ground.archive}.away`, ground.archive);
      if (codes !== 'E_ARCHIVE_UNAVAILABLE') throw new Error(`it was taken for ${codes}`);
      return `${codes}; ${await landed(ground)}`;
    },
  },
  {
    name: 'full-disk',
    done: 'staging to a file system of 4 MiB (tmpfs), then room is made and the workflow resumed',
    expected: 'it waits for a person with E_NO_SPACE; after the resume it lands',
    run: async (ground) => {
      mkdirSync(ground.stage, { recursive: true });
      const mount = (...args: string[]) => spawnSync('mount', [...args, ground.stage]).status === 0;
      if (!mount('-t', 'tmpfs', '-o', 'size=4m', 'tmpfs'))
        throw new Skipped('this user may not mount a tmpfs: run it as root to see this one');
      try {
        await held(ground);
        ground.go();
        const workflow = await until(ground, 'the disk to be full', async () => {
          const seen = await ground.engine.show(ground.id, { prev_task_runs: true });
          return seen.status === 'FAILURE' ? seen : null;
        });
        if (!JSON.stringify(workflow).includes('E_NO_SPACE')) throw new Error('it failed without E_NO_SPACE');
        mount('-o', 'remount,size=64m');
        await ground.engine.resume(ground.id, { actor: 'drill' });
        await until(
          ground,
          'the resumed step',
          async () => (await ground.engine.show(ground.id)).status !== 'FAILURE',
        );
        return `E_NO_SPACE; ${await landed(ground)}`;
      } finally {
        spawnSync('umount', ['-l', ground.stage]);
      }
    },
  },
];

/** One that has ended by itself was missed, which the records will tell. */
function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function held(ground: At): Promise<{ child: number; worker: number }> {
  ground.worker('worker-1');
  ground.worker('worker-2');
  return until(ground, 'the step to begin', () => ground.holds()[0]);
}

async function killed(ground: At, who: 'worker' | 'child'): Promise<string> {
  const first = await held(ground);
  process.kill(first[who], 'SIGKILL');
  await until(ground, 'the step to run again', () => ground.holds().length > 1);
  ground.go();
  return landed(ground);
}

async function landed(ground: At): Promise<string> {
  const { steps } = await succeeds(ground);
  const retries = steps.find(({ name }) => name === 'hold')?.last_task_run?.retries ?? 0;
  if (retries > 0) throw new Error(`${retries} retries of the step were used up`);
  await ground.assertIdentical();
  return `the step ran ${counted(ground.holds().length, 'time')}, no retry used, the copy is identical`;
}
