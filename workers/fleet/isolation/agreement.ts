/**
 * What a worker and the processes of its tasks must have in common: the messages between them, what these hold of the records,
 * and the shape of the configuration that is handed on. A worker runs the code that it was started with, its tasks what is on
 * the disk now; between an upgrade and the restart of the worker these are two releases, which may not understand each other.
 *
 * So a worker names what it has to each process, and one that has something else ends before it has said a word: its job is
 * put back, without blame, until the worker was restarted or another one takes it. A worker of a release from before this
 * names nothing, and is met the same way.
 */
import { join } from 'node:path';
import { CodeReader } from '../code/code-graph.ts';

/** In the environment of a task's process. */
export const AGREEMENT_VARIABLE = 'LONGSHORE_TASK_AGREEMENT';

/** Exit code of a process that does not have in common what its worker names. */
export const DISAGREES = 76; // EX_PROTOCOL

export const AGREED_FILES = ['messages.ts', '../../records/types.ts', '../../../config/schema.ts'].map(
  (name) => join(import.meta.dirname, name),
);

/** Of what is on the disk now. */
export const agreementOf = (reader = new CodeReader()): string => reader.graph(...AGREED_FILES).digest;

/** @param mine of the code that this process is about to run */
export function endUnlessAgreed(mine: string): void {
  if (process.env[AGREEMENT_VARIABLE] === mine) return;
  process.stderr.write(
    'this task has other code than its worker was started with; its job waits until the worker is restarted\n',
  );
  process.exit(DISAGREES);
}
