/** Failures as the records keep them. */
import { ERRORS, type ErrorCode, type ErrorReport } from '../errors.ts';
import type { TaskFailure } from './types.ts';

/** A failure that the records themselves have found: there is no stack worth keeping. */
export function reportBy(code: ErrorCode, message: string, fields: Record<string, unknown>): ErrorReport {
  const { class: errorClass, hint } = ERRORS[code];
  return { code, class: errorClass, message, hint, fields, traceback: '' };
}

/** The failure as the reference's readers expect it, with our typed fields beside. */
export function failureOf(error: ErrorReport): TaskFailure {
  return {
    exc_type: error.code,
    exc_message: [error.message],
    exc_module: 'longshore',
    code: error.code,
    class: error.class,
    hint: error.hint,
    fields: error.fields,
  };
}
