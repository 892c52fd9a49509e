/**
 * What a worker and the processes of its tasks must have in common: the messages between them, what these hold of the records,
 * and the shape of the configuration that is handed on. A worker runs the code that it was started with, its tasks what is on
 * the disk now; between an upgrade and the restart of the worker these are two releases, which may not understand each other.
 *
 * So a worker names what it has to each process, and one that has something else ends before it has said a word: its job is
 * put back, without blame, until the worker was restarted or another one takes it. A worker of a release from before this
 * names nothing, and is met the same way.
 *
 * What it is made of stands in code/agreed-code.ts: each process of a task begins with this file, and one that has been
 * brought together has no need of node:crypto for it, which is a twentieth of its start.
 */

/** In the environment of a task's process. */
export const AGREEMENT_VARIABLE = 'LONGSHORE_TASK_AGREEMENT';

/** Exit code of a process that does not have in common what its worker names. */
export const DISAGREES = 76; // EX_PROTOCOL

/** @param mine of the code that this process is about to run */
export function endUnlessAgreed(mine: string): void {
  if (process.env[AGREEMENT_VARIABLE] === mine) return;
  process.stderr.write(
    'this task has other code than its worker was started with; its job waits until the worker is restarted\n',
  );
  process.exit(DISAGREES);
}
