import { encodePath } from '../path.ts';
import { paxRecord, XATTR_PREFIX } from '../tar/pax.ts';

/**
 * Extended attributes of the `user.` namespace, for which Node has no binding: through perl's `syscall`, as the exchange
 * of two names (publish.ts). `getfattr` does the same as fast, but is not part of every Debian, and walks in the order
 * of the file system: with a million files its answer would have to be sorted first.
 *
 * The other namespaces belong to the system that made them: labels and capabilities mean nothing, or too much, on
 * another host, and who may read a staged copy is for Longshore to decide, not for an old ACL.
 */
export type Xattrs = Readonly<Record<string, string>>;

/** Of all values of one member, so that its line of the manifest and its pax header stay within their bounds. */
export const MAX_XATTR_BYTES = 96 * 1024;

/** As GNU tar names them; a `=` would end the key. */
export function xattrRecords(xattrs: Xattrs | null): Buffer[] {
  return Object.entries(xattrs ?? {}).map(([name, value]) => {
    const key = `${XATTR_PREFIX}${name.replaceAll('%', '%25').replaceAll('=', '%3D')}`;
    return paxRecord(encodePath(key), Buffer.from(value, 'base64'));
  });
}

/** Of a member of any bundle; null for none. */
export function xattrsOf(pax: ReadonlyMap<string, Buffer>): Xattrs | null {
  let found: Record<string, string> | null = null;
  for (const [key, value] of pax) {
    if (!key.startsWith(XATTR_PREFIX)) continue;
    const name = key.slice(XATTR_PREFIX.length).replaceAll('%3D', '=').replaceAll('%25', '%');
    if (!isKept(name)) continue;
    found ??= {};
    found[name] = value.toString('base64');
  }
  return found;
}

/** Asked when they are read and when they are set: a bundle from elsewhere must not set a capability. */
export const isKept = (name: string): boolean => name.startsWith('user.') && !name.includes('\0');
