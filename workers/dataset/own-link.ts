import { lstatSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { LongshoreError } from '../errors.ts';

/**
 * A dataset's folder may be a link. What it leads to is read, published and, if asked, deleted with the rights of the service
 * user, which are more than those of whoever may make a link in a source folder. So, as a web server does for its pages, a
 * link counts when its owner owns the folder that it leads to, too, or may be trusted with all of them: root, or the
 * service user.
 *
 * @param path of the folder, which is there
 * @throws E_ORIGIN_FOREIGN
 */
export function assertOwnLink(path: string): void {
  const given = resolve(path); // With a slash at its end it would be looked through.
  const link = lstatSync(given);
  if (!link.isSymbolicLink()) return;
  const { uid } = statSync(given);
  if ([uid, 0, process.getuid?.()].includes(link.uid)) return;
  throw new LongshoreError(
    'E_ORIGIN_FOREIGN',
    `${given} is a link of user ${link.uid} to a folder of user ${uid}; it is not followed`,
    { fields: { path: given, link_uid: link.uid, folder_uid: uid } },
  );
}
