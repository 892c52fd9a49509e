import { LongshoreError } from '../errors.ts';

/** What arrived is not what was sent. */
export const notIntact = (message: string, fields: Record<string, unknown> = {}): LongshoreError =>
  new LongshoreError('E_UPLOAD_INTEGRITY', message, { fields });
