/**
 * The thread of hang-watch.ts. It shares nothing with the event loop it watches but one counter. No await at the top: the
 * debugger's messages come only to a module that has been evaluated to its end.
 */
import { readFileSync } from 'node:fs';
import { type Debugger, Session } from 'node:inspector';
import { setTimeout as sleep } from 'node:timers/promises';
import { workerData } from 'node:worker_threads';
import { createLogger } from '../../log.ts';
import type { HangWatchData } from './hang-watch.ts';

const LOOK_EVERY_MS = 500;
/** A look that comes this late says that the whole process stood still (SIGSTOP, a suspended machine), not its loop. */
const STOOD_STILL_MS = 2_000;
/** The debugger tells of every script before it stops: seconds, on a machine that is busy. */
const ASK_MS = 10_000;
const FRAMES = 12;

const { beats, limit_ms } = workerData as HangWatchData;
const counter = new Int32Array(beats);

let seen = Atomics.load(counter, 0);
let since = performance.now();
let looked = since;
setInterval(() => {
  const now = performance.now();
  const beat = Atomics.load(counter, 0);
  if (beat !== seen || now - looked > STOOD_STILL_MS) since = now;
  seen = beat;
  looked = now;
  if (now - since < limit_ms) return;
  since = now;
  void end();
}, LOOK_EVERY_MS);

/** Says where the loop is, as far as that can be found out, and ends the process. */
async function end(): Promise<void> {
  const hang_seconds = limit_ms / 1000;
  const system_call = systemCall(); // Before the debugger makes it wait for itself.
  const stack = await Promise.race([stackOfLoop(), sleep(ASK_MS, null)]);
  // It has come back at the last moment: then there is nothing to end.
  if (Atomics.load(counter, 0) !== seen) return;
  // Without a stack it is not in JavaScript, but in a call of the system.
  const evidence = { hang_seconds, stack, system_call };
  createLogger('worker').fatal(evidence, 'the event loop hangs; the worker is killed, to be started again');
  process.kill(process.pid, 'SIGKILL');
}

/** The debugger stops an endless loop between two of its turns. */
function stackOfLoop(): Promise<string[] | null> {
  const { promise, resolve } = Promise.withResolvers<string[] | null>();
  try {
    const session = new Session();
    session.connectToMainThread();
    const urls = new Map<string, string>();
    session.on('Debugger.scriptParsed', ({ params }) => urls.set(params.scriptId, params.url));
    session.on('Debugger.paused', ({ params }) => {
      resolve(params.callFrames.slice(0, FRAMES).map((frame) => nameOf(frame, urls)));
    });
    session.post('Debugger.enable');
    session.post('Debugger.pause');
  } catch {
    resolve(null); // Without the inspector the rest of the evidence has to do.
  }
  return promise;
}

const nameOf = ({ functionName, location }: Debugger.CallFrame, urls: ReadonlyMap<string, string>): string =>
  `${functionName || '(anonymous)'} ${urls.get(location.scriptId) ?? ''}:${location.lineNumber + 1}`;

/** Of the thread whose id is the process's: its state, the number of the call, and where in the kernel it waits. */
function systemCall(): Record<string, string> {
  const of = (file: string): string => {
    try {
      return readFileSync(`/proc/self/task/${process.pid}/${file}`, 'utf8').trim();
    } catch {
      return ''; // Not for this user, or not on this kernel.
    }
  };
  return {
    state: /^State:\s*(.*)$/m.exec(of('status'))?.[1] ?? '',
    call: of('syscall'),
    waits_in: of('wchan'),
  };
}
