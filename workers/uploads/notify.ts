import type { Config } from '../../config/index.ts';
import { coerceError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Uploads } from './contract.ts';

/** Tells whom the configuration names. Never throws: what it tells of has happened, and stands in the upload's log. */
export async function notifyOf(
  { config, uploads, log }: { config: Config; uploads: Uploads; log: Logger },
  { label, text }: { label: string; text: string },
): Promise<boolean> {
  if (!config.enabled_features.notifications) return false;
  const { role_ids, user_ids } = config.uploads.notify;
  // The API refuses a notification that nobody would get.
  if (role_ids.length + user_ids.length === 0) {
    log.warn({ label }, 'nobody was notified: config.uploads.notify names no role and no user');
    return false;
  }
  try {
    await uploads.notify({ type: 'UPLOAD', label, text, role_ids, user_ids });
    return true;
  } catch (error) {
    const { code, message } = coerceError(error);
    log.warn({ label, code, reason: message }, 'a notification could not be sent');
    return false;
  }
}
