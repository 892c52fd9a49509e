import { type ErrorCode, isLongshoreError, LongshoreError } from '../errors.ts';

/** What arrived is not what was sent. */
export const notIntact = (message: string, fields: Record<string, unknown> = {}): LongshoreError =>
  new LongshoreError('E_UPLOAD_INTEGRITY', message, { fields });

const OUTAGES: ReadonlySet<ErrorCode> = new Set([
  'E_API_UNAVAILABLE',
  'E_API_FAILED',
  'E_API_ANSWER',
  'E_API_REFUSED',
]);

/** It says nothing about an upload: a page of a proxy, or a token that has run out, must not fail one. */
export const isOutage = (error: unknown): boolean => isLongshoreError(error) && OUTAGES.has(error.code);
