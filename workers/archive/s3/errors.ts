import { isLongshoreError, LongshoreError } from '../../errors.ts';

/** What a message names. */
export interface S3Place {
  /** Of the back end in the configuration. */
  readonly archive: string;
  readonly bucket: string;
  /** `s3://bucket/key`, or the bucket alone. */
  readonly location: string;
  /** Null: AWS. */
  readonly endpoint: string | null;
}

/** What the server, or the way to it, said: the S3 error code, or the name of the failure. */
interface Refusal {
  readonly reason: string;
  /** Null: no answer came. */
  readonly status: number | null;
}

const DENIED: ReadonlySet<string> = new Set([
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'AccessDenied',
  'AllAccessDisabled',
  'AccountProblem',
  'ExpiredToken',
  'InvalidToken',
  'NotSignedUp',
  'CredentialsProviderError',
]);
/** Of the bytes that were sent: what arrived had another digest. */
const DAMAGED: ReadonlySet<string> = new Set(['BadDigest', 'InvalidDigest', 'XAmzContentSHA256Mismatch']);
/** Answers with a status of the 400s that the same request may not get again. */
const PASSING: ReadonlySet<string> = new Set([
  'RequestTimeout',
  'IncompleteBody',
  'OperationAborted',
  'TooManyRequests',
]);
/** What a server that lacks an operation, or a role that lacks its permission, answers. */
const WITHOUT: ReadonlySet<string> = new Set(['NotImplemented', 'MethodNotAllowed', 'AccessDenied']);

/**
 * An error of the SDK as one of ours. What the server refuses for good waits for a person; everything else, and all
 * that is no answer, is an outage. The answer to a key that is not there is for the caller to judge: see `isAbsence`.
 */
export function s3Error(error: unknown, place: S3Place): LongshoreError {
  if (isLongshoreError(error)) return error;
  const { reason, status } = refusalOf(error);
  const fields = { archive: place.archive, location: place.location, reason, status };
  const said = status === null ? reason : `${reason}, status ${status}`;
  const fail = (
    code: ConstructorParameters<typeof LongshoreError>[0],
    text: string,
    more: { hint?: string; class?: 'operator' } = {},
  ): LongshoreError => new LongshoreError(code, text, { fields, cause: error, ...more });

  if (reason === 'InvalidObjectState')
    return fail('E_ARCHIVE_UNAVAILABLE', `${place.location} lies in a storage class that is not online`, {
      class: 'operator',
      hint: 'Restore the object (aws s3api restore-object), wait until it is there, then resume.',
    });
  if (reason === 'NoSuchBucket') return noBucket(place, error);
  if (DENIED.has(reason) || status === 401 || status === 403)
    return fail('E_ARCHIVE_DENIED', `${hostOf(place)} refuses access to ${place.location} (${said})`);
  if (DAMAGED.has(reason))
    return fail('E_TRANSFER', `what arrived for ${place.location} is not what was sent (${said})`);
  if (reason === 'NoSuchUpload')
    return fail('E_TRANSFER', `the upload of ${place.location} was ended by somebody else`);
  if (status === 507)
    return fail('E_NO_SPACE', `${hostOf(place)} has no space for ${place.location} (${said})`);
  if (status !== null && status >= 300 && status < 500 && status !== 429 && !PASSING.has(reason))
    return fail(
      'E_ARCHIVE_UNAVAILABLE',
      `${hostOf(place)} refuses a request on ${place.location} (${said})`,
      {
        class: 'operator',
        hint: `Check endpoint, region and options of archive.backends.${place.archive}, then resume.`,
      },
    );
  return fail('E_ARCHIVE_UNAVAILABLE', `${hostOf(place)} cannot be reached for ${place.location} (${said})`);
}

/** Nothing can be said about any key; and no retry makes a bucket. */
export const noBucket = (place: S3Place, cause: unknown): LongshoreError =>
  new LongshoreError(
    'E_ARCHIVE_UNAVAILABLE',
    `the bucket ${place.bucket} does not exist at ${hostOf(place)}`,
    {
      class: 'operator',
      fields: { archive: place.archive, bucket: place.bucket, reason: 'NoSuchBucket', status: 404 },
      hint: `Create it, or correct bucket, endpoint and region of archive.backends.${place.archive}, then resume.`,
      cause,
    },
  );

/** What every S3 server says: the ETag of an object and of what was put, whether a list is all, the id of an upload, that something is gone. */
export type Proper = 'ETag' | 'end of a list' | 'UploadId' | 'status 204';

/** The page of a proxy that asks for a login, or tells of works, says none of it, and comes with status 200. */
export const noServer = (place: S3Place, without: Proper = 'ETag'): LongshoreError =>
  new LongshoreError(
    'E_ARCHIVE_UNAVAILABLE',
    `what answers at ${hostOf(place)} for ${place.location} is no S3 server: its answer has no ${without}`,
    {
      fields: { archive: place.archive, location: place.location, reason: `no ${without}`, status: 200 },
      hint: `Look for a proxy or a login page on the way, or check endpoint of archive.backends.${place.archive}.`,
    },
  );

/** The S3 error code behind one of our errors, or ''. */
export function reasonOf(error: unknown): string {
  const reason = fieldOf(error, 'reason');
  return typeof reason === 'string' ? reason : '';
}

/** Whether the key is not there, or the bucket: HEAD has no body that would tell. */
export const isAbsence = (error: unknown): boolean =>
  fieldOf(error, 'status') === 404 && reasonOf(error) !== 'NoSuchBucket';

/** Whether the server has no such operation, or does not let us use it. */
export const isWithout = (error: unknown): boolean =>
  WITHOUT.has(reasonOf(error)) || [405, 501].includes(Number(fieldOf(error, 'status')));

function refusalOf(error: unknown): Refusal {
  if (!(error instanceof Error)) return { reason: String(error), status: null };
  const { name, message, code, $metadata } = error as Error & {
    code?: unknown;
    $metadata?: { httpStatusCode?: number };
  };
  const status = $metadata?.httpStatusCode ?? null;
  if (status !== null || DENIED.has(name)) return { reason: name, status };
  return { reason: typeof code === 'string' ? code : name === 'Error' ? message : name, status };
}

const hostOf = ({ endpoint }: S3Place): string => endpoint ?? 'AWS S3';

const fieldOf = (error: unknown, name: string): unknown =>
  isLongshoreError(error) ? error.fields[name] : undefined;
