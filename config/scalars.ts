/** What keys of several parts of the configuration are made of. */
import { z } from 'zod';

export const text = z.string().min(1, 'expected a non-empty text');
export const absolutePath = z.string().startsWith('/', 'expected an absolute path');
export const count = z.int().min(0);
export const seconds = z.number().min(0);
/** Null: never. */
export const percent = z.number().min(0).max(100).nullable();

/** A password with a slash in it ends the host's name too early, and its end is told to whoever has that name. */
export function isRedisUrl(url: string): boolean {
  try {
    const { username, password, pathname, search, hash } = new URL(url);
    decodeURIComponent(username + password);
    return /^\/?\d*$/.test(pathname) && !search.includes('@') && hash === '';
  } catch {
    return false;
  }
}
