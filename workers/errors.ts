/**
 * The one registry of coded errors.
 *
 * Every failure that a person or a retry decision may meet has a code here. A code belongs to one class:
 *
 * | class     | what the workflow engine does with it                                              |
 * | --------- | ---------------------------------------------------------------------------------- |
 * | retryable | runs the task again, up to three times, after a delay                              |
 * | fatal     | fails the step at once: the same input would fail again                            |
 * | operator  | fails the step at once and says what a person has to do before it can be resumed   |
 *
 * The decision is data and never read from message text. `docs/errors.md` lists every code; a test holds the
 * page and this registry together.
 */
import { constants } from 'node:os';
import { redisRefusal } from './redis-answer.ts';

export type ErrorClass = 'retryable' | 'fatal' | 'operator';

interface ErrorEntry {
  readonly class: ErrorClass;
  /** What to do about it, in one or two sentences for the person on duty. */
  readonly hint: string;
}

const retryable = (hint: string): ErrorEntry => ({ class: 'retryable', hint });
const fatal = (hint: string): ErrorEntry => ({ class: 'fatal', hint });
const operator = (hint: string): ErrorEntry => ({ class: 'operator', hint });

export const ERRORS = {
  // configuration and start
  E_CONFIG: operator(
    'Correct the listed keys in config/ or .env, then start again. `npm run config` explains each value.',
  ),
  E_USAGE: operator('See --help for the arguments and examples.'),
  E_BUSY: retryable(
    'Nothing was done. Run it again when the other run has ended; that of a killed one counts for half a minute more.',
  ),
  E_REDIS_UNAVAILABLE: operator(
    'Start Redis or correct REDIS_URL. Without REDIS_URL, `npm start` brings its own.',
  ),
  E_NO_WORKER: operator('Start one with `npm start` (or `pm2 start ecosystem.config.js`), then ask again.'),
  E_GATEWAY_KEY: operator(
    'Make a key pair with `longshore token --new-keys`, or correct config.gateway.jwt; then start the gateway again.',
  ),
  E_PORT: operator(
    'Stop whoever listens there, or choose another address with config.gateway.host and .port.',
  ),
  E_TOOL_MISSING: operator('Install the named program on this host, or correct its path in config.tools.'),

  // catalog and records
  E_DATASET_NOT_FOUND: fatal('Check the id with `longshore datasets`.'),
  E_DATASET_DELETED: fatal(
    'The dataset was deleted; register it again under a new name if it must be landed.',
  ),
  E_DATASET_EXISTS: fatal(
    'A dataset of this name and type is registered already; use another name, a prefix or a suffix.',
  ),
  E_PROJECT_NOT_FOUND: fatal(
    'The facility knows no such project, and nothing was registered for it. Take its id from the user interface of the facility.',
  ),
  E_NO_CATALOG: operator(
    'Start the fleet (`npm start`), which makes it; or correct LONGSHORE_HOME, if it lies elsewhere.',
  ),
  E_OUTDATED: operator('Start this process with the release that wrote the catalog, or a newer one.'),
  E_CATALOG_UNAVAILABLE: retryable('The catalog did not answer; the task is tried again.'),
  E_MONGODB_UNAVAILABLE: retryable(
    'The MongoDB server did not come back in time (mongodb.patience_seconds). Start it or correct MONGODB_URL; nothing is lost.',
  ),
  E_MONGODB_DENIED: operator(
    'Correct user and password in MONGODB_URL, and let that user read, write and create indexes in the database.',
  ),
  E_VALUE: fatal('The named value cannot be recorded exactly as it is; correct what computed it.'),
  E_WORKFLOW_NOT_FOUND: fatal('Check the id with `longshore workflows`.'),
  E_WORKFLOW_UNREADABLE: operator(
    'Something else wrote or changed it. Put it right in MongoDB, or remove it: DELETE /workflows/<id> at the gateway.',
  ),
  E_WORKFLOW_INVALID: fatal('Correct the workflow in config.workflow_registry or the request.'),
  E_WORKFLOW_STATE: fatal(
    'Look at the workflow with `longshore show <id>`; the operation does not apply to its state.',
  ),

  // the facility's REST API
  E_API_UNAVAILABLE: retryable(
    'The API does not answer, or asks for patience (429, 502, 503). State changes wait in the spool and are delivered when it is back.',
  ),
  E_API_FAILED: retryable(
    'The API itself failed on this request (5xx); its log says why. A change of state waits in the spool.',
  ),
  E_API_REFUSED: operator(
    'The API refuses the token or what it may do. Correct APP_API_TOKEN (or the role of its user), then resume.',
  ),
  E_API_NOT_FOUND: fatal('The API has no such record; check the id there.'),
  E_API_CONFLICT: fatal('The API has a record of this name or id already.'),
  E_API_REQUEST: fatal('The API does not accept this request; its words are in the message.'),
  E_API_FILES: retryable(
    'The API takes file rows before it writes them, and has not written all; its log says why. The step sends them again.',
  ),
  E_API_ANSWER: retryable(
    'What answered is not the API: check API_BASE_URL (a base with a path ends in "/"), and proxies and login pages before it.',
  ),

  // running a task
  E_TASK_UNKNOWN: fatal('A step names a task that has no file in workers/tasks/.'),
  E_TASK_CRASHED: retryable('The task failed with an error that has no code; see the traceback.'),
  E_LEASE_LOST: retryable(
    'Another worker owns this job now; this attempt stopped without publishing anything.',
  ),
  E_HELPER_LOST: retryable(
    'A program that does a part of the work for the task was killed; the step runs again as after the loss of its own process.',
  ),
  E_WORKER_LOST: fatal(
    'The job lost its process again and again (memory? see the attempts). Find the cause, then resume.',
  ),
  E_WORKER_STOPPED: retryable(
    'The worker was shut down in good order, or handed the job back for want of memory; it goes on elsewhere.',
  ),
  E_REVOKED: fatal('The workflow was paused or revoked by a person; `longshore resume <id>` continues it.'),
  E_TIMEOUT: retryable('The task ran longer than its time limit.'),
  E_MEMORY_LIMIT: operator(
    'The task took more memory than it may. Raise memory_bytes in config.task.limits.<task> if it needs that much, then resume.',
  ),
  E_SUBPROCESS: retryable(
    'A program failed; its exit code and process id are given, its output is in `longshore logs`.',
  ),

  // reading the origin
  E_ORIGIN_MISSING: operator(
    'The origin folder is not there. Mount the file system or restore the folder, then resume.',
  ),
  E_ORIGIN_FOREIGN: operator(
    'If the link is meant, let its folder be linked by its own owner, by root or by the service user (`chown -h`), or register the folder itself; then resume.',
  ),
  E_ORIGIN_REDUCED: operator(
    'Restore what the origin lacks. If it is meant to hold less, `longshore archive <dataset> --force` puts that in the place of what is archived; to write a lost or damaged copy from a sound one, move the origin away and say `longshore start copies <dataset>`.',
  ),
  E_INSPECTION: operator(
    'Make every listed entry readable for the service user, or remove it (a fifo, socket or device cannot be archived), then resume.',
  ),
  E_SOURCE_CHANGED: retryable(
    'The named file changed while it was read. If it is still being written, wait until it is complete.',
  ),
  E_NAME_UNSAFE: fatal('The name cannot be used as a path below its root.'),

  // bundle, archive, staging
  E_NO_SPACE: operator(
    'Free the missing space on the named file system or point the path elsewhere, then resume.',
  ),
  E_IO: retryable('The file system reported an error on the named path.'),
  E_STAGE_AWAY: operator(
    'A recorded staged copy is not there, and nothing else in the stage folder. Mount its file system, then resume.',
  ),
  E_BUNDLE_CORRUPT: operator(
    'The archived bundle does not match its digest. Keep it, restore a good copy, then resume.',
  ),
  E_BUNDLE_MISSING: operator(
    'The archive has no bundle at the recorded path. Check the archive before anything else.',
  ),
  E_BUNDLE_UNKNOWN: operator(
    'If it is the bundle of this dataset, the catalog has lost its record: see docs/recovery.md. If it may go, `longshore archive <dataset> --force` puts what the origin holds in its place.',
  ),
  E_BUNDLE_UNSAFE: fatal(
    'The bundle holds what no dataset has: a member outside of its folder, a device, a name twice, holes without end. Nothing of it was published.',
  ),
  E_ARCHIVE_UNAVAILABLE: retryable(
    'The archive cannot be reached. This is an outage, not an absence; nothing was changed.',
  ),
  E_ARCHIVE_DENIED: operator(
    'The archive refuses these credentials, or what they may do. Correct them on the named back end, then resume.',
  ),
  E_TRANSFER: retryable(
    'What arrived is not what was sent; it was not published. If it repeats, check the network and the archive.',
  ),
  E_FIXITY: operator(
    'An archived copy no longer equals what was archived. See `longshore fixity <dataset>` and `longshore verify <dataset>`; `longshore start copies <dataset>` writes it anew from a sound copy, else from the origin.',
  ),
  E_RECALL: operator(
    'The named member cannot be recalled; see which members the dataset has with `longshore manifest <dataset>`.',
  ),
  E_VALIDATION: operator(
    'The staged copy differs from the manifest as listed. Stage again; if it repeats, check the archive.',
  ),
  E_NOT_ARCHIVED: fatal('The dataset has no verified archived copy; archive and stage it first.'),

  // uploads
  E_UPLOADS_OFF: operator(
    'Uploads come by the facility\'s REST API: set catalog.backend to "rest", API_BASE_URL and APP_API_TOKEN.',
  ),
  E_UPLOAD_NOT_FOUND: fatal('The dataset was not uploaded; check its id with `longshore datasets`.'),
  E_UPLOAD_INTEGRITY: retryable(
    'What arrived is not what the browser sent. If it repeats, the dataset must be uploaded again.',
  ),
  E_UPLOAD_STATE: fatal('The upload has gone on without this verification; nothing was changed.'),
  E_QC_REPORT_MISSING: retryable('MultiQC ended without a report; its output is in `longshore logs`.'),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** Typed facts about the failure: paths, sizes in bytes, lists of `[path, reason]`. Never secrets. */
export type ErrorFields = Readonly<Record<string, unknown>>;

export class LongshoreError extends Error {
  override readonly name: string = 'LongshoreError';
  readonly code: ErrorCode;
  readonly class: ErrorClass;
  readonly hint: string;
  readonly fields: ErrorFields;

  /**
   * @param message one sentence that names the value and what was expected
   * @param options.hint replaces the registry's hint where the place of failure knows better
   */
  constructor(
    code: ErrorCode,
    message: string,
    options: { fields?: ErrorFields; cause?: unknown; hint?: string; class?: ErrorClass } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.class = options.class ?? ERRORS[code].class;
    this.hint = options.hint ?? ERRORS[code].hint;
    this.fields = options.fields ?? {};
  }
}

/** What crosses a process boundary and what the records keep of a failure. */
export interface ErrorReport {
  code: ErrorCode;
  class: ErrorClass;
  message: string;
  hint: string;
  fields: Record<string, unknown>;
  traceback: string;
}

export function isLongshoreError(error: unknown): error is LongshoreError {
  return error instanceof LongshoreError;
}

/** In the place of the registry's hint: the file system shows free space, and that of another would not help. */
export const QUOTA_HINT =
  'The quota of this user, group, project or subvolume is used up there (`quota -s` shows that of the user). Free space below it or have it raised, then resume.';

/**
 * Gives any thrown value a code. System errors keep their path; ENOSPC and EDQUOT become E_NO_SPACE, because no
 * retry frees a disk; everything unknown is E_TASK_CRASHED and is retried, as the reference does.
 */
export function coerceError(error: unknown): LongshoreError {
  if (isLongshoreError(error)) return error;
  if (error instanceof Error) {
    const { code, path, syscall } = error as NodeJS.ErrnoException;
    if (typeof code === 'string' && typeof syscall === 'string') {
      const quota = isOverQuota(error);
      const full = quota || code === 'ENOSPC';
      const message = quota ? error.message.replace(NAMELESS, 'EDQUOT: disk quota exceeded') : error.message;
      return new LongshoreError(full ? 'E_NO_SPACE' : 'E_IO', namingPath(message, path), {
        fields: { errno: quota ? 'EDQUOT' : code, syscall, ...(path === undefined ? {} : { path }) },
        cause: error,
        ...(quota ? { hint: QUOTA_HINT } : {}),
      });
    }
    if (error.name === 'ReplyError') return refusedByRedis(error);
    return new LongshoreError('E_TASK_CRASHED', error.message || error.name, { cause: error });
  }
  return new LongshoreError('E_TASK_CRASHED', `a task threw ${String(error)} instead of an Error`, {
    cause: error,
  });
}

/** What libuv, which has no name for EDQUOT, writes in its place: its calls, and the synchronous ones of Node. */
const NAMELESS = /^(?:UNKNOWN: unknown error|Unknown system error -\d+: Unknown system error -\d+)/;

/** By its number alone: `code` is 'UNKNOWN' or 'Unknown system error -122', never 'EDQUOT', where a system call said it. */
export function isOverQuota(error: unknown): boolean {
  const { code, errno } = error as NodeJS.ErrnoException;
  return code === 'EDQUOT' || errno === -constants.errno.EDQUOT;
}

/** A call on an open file knows no path; who made it has noted it, and a person must know which file system is meant. */
const namingPath = (message: string, path: string | undefined): string =>
  path === undefined || message.includes(path) ? message : `${message} '${path}'`;

/** With what to do, where that is known. */
function refusedByRedis(error: Error): LongshoreError {
  const { message, hint } = redisRefusal(error);
  return new LongshoreError('E_REDIS_UNAVAILABLE', message, {
    cause: error,
    class: 'retryable', // A task that met it is not to blame, and needs no person.
    ...(hint === null ? {} : { hint }),
  });
}

/** `/path/file.ts:3: what is wrong there`, of a module that cannot be loaded: Node names the place in the stack alone. */
export function whyNotLoaded(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [, frame = ''] = /^\s+at (.*)$/m.exec(error.stack ?? '') ?? [];
  // Of what cannot be parsed it stands above the message; of what was thrown, in the first frame.
  const [, place] = /^file:\/\/(\S+:\d+)/.exec(error.stack ?? '') ?? /file:\/\/(\S+?:\d+)/.exec(frame) ?? [];
  return place === undefined ? error.message : `${decodeURI(place)}: ${error.message}`;
}

export function reportOf(error: unknown): ErrorReport {
  const known = coerceError(error);
  return {
    code: known.code,
    class: known.class,
    message: known.message,
    hint: known.hint,
    fields: { ...known.fields },
    traceback: tracebackOf(known),
  };
}

export function errorFromReport(report: ErrorReport): LongshoreError {
  const error = new LongshoreError(report.code, report.message, {
    fields: report.fields,
    hint: report.hint,
    class: report.class,
  });
  error.stack = report.traceback;
  return error;
}

function tracebackOf(error: Error): string {
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error; at = at.cause) parts.push(at.stack ?? String(at));
  return parts.join('\ncaused by: ');
}
