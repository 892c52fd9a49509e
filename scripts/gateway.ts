/** pm2 app `gateway`: the workflow server over HTTP. */
import { withGateway } from './cli/commands/gateway.ts';
import { createProgram, runProgram } from './cli/program.ts';

const program = createProgram('gateway', 'Serve workflows over HTTP, as a Bioloop API expects it.', [
  'node scripts/gateway.ts',
  'node scripts/gateway.ts --port 5002 --host 0.0.0.0',
]);

await runProgram(withGateway(program));
process.exit();
