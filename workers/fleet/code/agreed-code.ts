/** The code that a worker and the processes of its tasks must have in common; see isolation/agreement.ts. */
import { join } from 'node:path';
import { CodeReader } from './code-graph.ts';

export const AGREED_FILES = [
  '../isolation/messages.ts',
  '../../records/types.ts',
  '../../../config/schema.ts',
].map((name) => join(import.meta.dirname, name));

/** Of what is on the disk now. */
export const agreementOf = (reader = new CodeReader()): string => reader.graph(...AGREED_FILES).digest;
