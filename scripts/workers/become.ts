import { LongshoreError } from '../../workers/errors.ts';

/**
 * This process becomes another program of ours. In its place, not as its parent: signals and the exit code reach whoever
 * started this, and no process stands between. Does not return.
 */
export function become(file: string, args: readonly string[], env: NodeJS.ProcessEnv): never {
  process.execve?.(process.execPath, [process.execPath, ...process.execArgv, file, ...args], env);
  throw new LongshoreError('E_USAGE', 'this Node cannot become another program', {
    hint: `Start it with: node ${[file, ...args].join(' ')}`,
  });
}
