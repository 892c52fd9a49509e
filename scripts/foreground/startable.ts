import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configOrExit } from '../../config/index.ts';
import { coerceError } from '../../workers/errors.ts';
import { makeFolders } from '../../workers/folders.ts';

/** EX_CONFIG, as for every other problem that the next start would meet again. */
const EXIT_CONFIG = 78;

/**
 * Before pm2 starts anything: the configuration is usable, and the folders (the state's and pm2's own) can be written; else
 * this process ends. pm2 itself says a problem of the configuration twice and ends with 0, and stays where it cannot write.
 */
export async function mustBeStartable(pm2_home: string): Promise<void> {
  const { state_dir } = await configOrExit();
  mustBeWritable(state_dir);
  // `pm2 save` writes the environment of all apps there, for everybody to read.
  mustBeWritable(pm2_home, 0o700);
}

/** By writing: for root, and over NFS, what the permissions say is not what happens. */
function mustBeWritable(folder: string, mode: number | null = null): void {
  const probe = join(folder, `.written-${process.pid}`);
  try {
    const made = makeFolders(folder) !== undefined;
    if (made && mode !== null) chmodSync(folder, mode);
    writeFileSync(probe, '');
    rmSync(probe);
  } catch (error) {
    const { code, message } = coerceError(error);
    process.stderr.write(`${code}: ${message}\nMake ${folder} a folder that this user may write.\n`);
    process.exit(EXIT_CONFIG);
  }
}
