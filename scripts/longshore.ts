#!/usr/bin/env node
/** The operator's command line. Its code is imported when the cache of compiled code is on: an import above would come before. */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

// In the checkout, which is trusted as the code itself is: what lies in a folder of /tmp may be somebody else's. Told to the
// processes that a command starts: half of what one of the doctor or of the drill costs is the compiling of its code.
process.env.NODE_COMPILE_CACHE ||= join(import.meta.dirname, '../var/cache/node');
enableCompileCache(process.env.NODE_COMPILE_CACHE);
await import('./cli/main.ts');
