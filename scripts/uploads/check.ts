/** One verification of an upload, and what its log says afterwards. */
import type { Config } from '../../config/index.ts';
import { coerceError, LongshoreError } from '../../workers/errors.ts';
import type { Logger } from '../../workers/log.ts';
import type { UploadLog, Uploads } from '../../workers/uploads/contract.ts';
import { isOutage } from '../../workers/uploads/failure.ts';
import { notifyOf } from '../../workers/uploads/notify.ts';
import { assertUploadRoot } from '../../workers/uploads/roots.ts';
import { verifyUpload } from '../../workers/uploads/verify.ts';
import { bytes, counted } from '../cli/format.ts';

export interface CheckParts {
  readonly config: Config;
  readonly uploads: Uploads;
  readonly log: Logger;
  /** One line for whoever follows it. */
  readonly say: (line: string) => void;
}

export interface Check {
  readonly dataset_id: number;
  readonly task_id: string;
  /** A failure is final. */
  readonly last: boolean;
  /** Only compare; the upload stays as it is. */
  readonly dry_run: boolean;
}

export interface Checked {
  readonly status: string;
  /** Null: it was verified before. */
  readonly by: string | null;
  readonly files: number | null;
  readonly bytes: number | null;
  readonly warning: string | null;
}

const OPEN = ['UPLOADED', 'VERIFYING'];
const BEYOND = ['VERIFIED', 'COMPLETE'];
const SAY_EVERY_MS = 10_000;

/**
 * Sets VERIFIED; when the last try fails VERIFICATION_FAILED, with the reason. The API holds nobody to an order of
 * states, so an upload that was given up or landed meanwhile is left as it is.
 * @throws what the verification failed with; E_UPLOAD_STATE, E_UPLOAD_NOT_FOUND, E_API_…
 */
export async function checkUpload(parts: CheckParts, check: Check): Promise<Checked> {
  const { uploads, say } = parts;
  const before = await uploads.log(check.dataset_id);
  if (BEYOND.includes(before.status)) return nothingToDo(before);
  assertOpen(before);
  assertUploadRoot(parts.config, before.dataset.type);
  try {
    const found = await verifyUpload(before, { onProgress: meter(say, totalOf(before)) });
    if (found.warning !== null) say(`warning: ${found.warning}`);
    say(`verified by ${found.by}: ${counted(found.files, 'file')}, ${bytes(found.bytes)}`);
    if (check.dry_run) return { status: before.status, ...found };
    const now = await uploads.log(check.dataset_id);
    if (BEYOND.includes(now.status)) return nothingToDo(now);
    assertOpen(now);
    await uploads.patch(check.dataset_id, { status: 'VERIFIED' });
    return { status: 'VERIFIED', ...found };
  } catch (error) {
    const { code } = coerceError(error);
    const final = check.last && !check.dry_run && code !== 'E_UPLOAD_STATE' && !isOutage(error);
    if (final) await reject(parts, check, before, error);
    throw error;
  }
}

const nothingToDo = ({ status }: UploadLog): Checked => ({
  status,
  by: null,
  files: null,
  bytes: null,
  warning: null,
});

function assertOpen({ dataset_id, status }: UploadLog): void {
  if (OPEN.includes(status)) return;
  throw new LongshoreError(
    'E_UPLOAD_STATE',
    `the upload of dataset ${dataset_id} is ${status}; expected ${OPEN.join(' or ')}`,
    { fields: { dataset_id, status } },
  );
}

/** A failure to say so must not hide what it failed with. */
async function reject(parts: CheckParts, check: Check, before: UploadLog, error: unknown): Promise<void> {
  const { uploads, log } = parts;
  const { code, message } = coerceError(error);
  const failure_reason = `${code}: ${message}`;
  const failed_at = new Date().toISOString();
  const metadata = { failure_reason, task_id: check.task_id, failed_at, retries_exhausted: true };
  try {
    assertOpen(await uploads.log(check.dataset_id));
    await uploads.patch(check.dataset_id, { status: 'VERIFICATION_FAILED', metadata });
  } catch (failure) {
    log.error({ err: failure }, 'the upload could not be set to VERIFICATION_FAILED');
    return;
  }
  const { name } = before.dataset;
  await notifyOf(parts, {
    label: `Upload of ${name} could not be verified`,
    text: `Dataset ${check.dataset_id} (${name}): ${failure_reason}`,
  });
}

/** Bytes that the browser says it has sent; null when it does not say. */
function totalOf({ metadata }: UploadLog): number | null {
  const said = [metadata.size_manifest, metadata.checksum] as ({ total_size?: unknown } | null | undefined)[];
  const total = said.map((one) => one?.total_size).find((size) => typeof size === 'number');
  return total ?? null;
}

function meter(
  say: CheckParts['say'],
  total: number | null,
): (done: { files: number; bytes: number }) => void {
  let said = Date.now();
  return ({ files, bytes: read }) => {
    if (Date.now() - said < SAY_EVERY_MS) return;
    said = Date.now();
    say(`digested ${counted(files, 'file')}, ${bytes(read)}${total === null ? '' : ` of ${bytes(total)}`}`);
  };
}
