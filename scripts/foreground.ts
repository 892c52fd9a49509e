/** `npm start`, and what a container runs: worker, watcher and Redis under a pm2 in the foreground, once in a checkout. */
import { join } from 'node:path';
import { createProgram, EXIT, runProgram } from './cli/program.ts';
import { takeForeground } from './foreground/lock.ts';
import { mustBeStartable } from './foreground/startable.ts';
import { become } from './workers/become.ts';

const root = join(import.meta.dirname, '..');

const program = createProgram('foreground', 'Run worker, watcher and Redis in the foreground until Ctrl-C.', [
  'npm start',
  'LONGSHORE_WORKERS=2 npm start',
])
  .addHelpText('after', `\nIt is running already: ${EXIT.state}`)
  .action(async () => {
    const PM2_HOME = process.env.PM2_HOME || join(root, 'var/pm2');
    await mustBeStartable(PM2_HOME);
    const holder = takeForeground(PM2_HOME);
    if (holder !== null) {
      process.stderr.write(
        `Longshore is running already as process ${holder}; stop it with Ctrl-C there (or: kill -INT ${holder})\n`,
      );
      process.exitCode = EXIT.state;
      return;
    }
    // Without the flag it leaves in a hurry, with code 2, when the others take a few seconds to leave.
    const args = ['--no-auto-exit', join(root, 'ecosystem.config.js')];
    become(join(root, 'node_modules/pm2/bin/pm2-runtime'), args, { ...process.env, PM2_HOME });
  });

await runProgram(program);
