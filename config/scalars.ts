/** What keys of several parts of the configuration are made of. */
import { z } from 'zod';

export const text = z.string().min(1, 'expected a non-empty text');
export const absolutePath = z.string().startsWith('/', 'expected an absolute path');
export const count = z.int().min(0);
export const seconds = z.number().min(0);
/** Null: never. */
export const percent = z.number().min(0).max(100).nullable();
