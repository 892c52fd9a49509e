/** What keys of several parts of the configuration are made of. */
import { z } from 'zod';

export const text = z.string().min(1, 'expected a non-empty text');
export const absolutePath = z.string().startsWith('/', 'expected an absolute path');
export const count = z.int().min(0);
