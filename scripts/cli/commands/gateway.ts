import { type Command, InvalidArgumentError } from 'commander';
import type { GatewayOptions } from '../../gateway/run.ts';
import { helpTail } from '../program.ts';

/** gateway, also as the script of its pm2 app. */
export function addGateway(program: Command): void {
  withGateway(
    program
      .command('gateway')
      .description('serve workflows over HTTP, as a Bioloop API expects it, until stopped')
      .addHelpText('after', helpTail(['longshore gateway', 'longshore gateway --port 5002 --host 0.0.0.0'])),
  );
}

export function withGateway(command: Command): Command {
  return command
    .option('--host <address>', 'instead of config.gateway.host')
    .option('--port <n>', 'instead of config.gateway.port; 0: any that is free', port)
    .action(async (options: GatewayOptions) => {
      // Loaded where it is wanted: the HTTP server would cost every other command its start.
      const { runGateway } = await import('../../gateway/run.ts');
      await runGateway(options);
      // A connection to a Redis that never answered would hold the process up.
      process.exit();
    });
}

function port(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= 65_535) return value;
  throw new InvalidArgumentError('Expected a number from 0 to 65535.');
}
