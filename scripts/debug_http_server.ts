/** Prints every HTTP request that comes in and answers 200: to see what a client really sends. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { Argument, InvalidArgumentError } from 'commander';
import { LongshoreError } from '../workers/errors.ts';
import { oneLine } from './cli/format.ts';
import { createProgram, jsonOption, runProgram } from './cli/program.ts';
import { createEchoServer, type SeenRequest } from './debug/echo-server.ts';

interface Options {
  host: string;
  json?: boolean;
}

const program = createProgram(
  'debug_http_server',
  'Print every request that comes in (its line, headers and body) and answer 200 OK. SIGINT or SIGTERM ends it.',
  ['node scripts/debug_http_server.ts', 'node scripts/debug_http_server.ts 9000 --json'],
)
  .addArgument(new Argument('[port]', '0: any that is free').default(8000).argParser(port))
  .option('--host <address>', 'listen here; 0.0.0.0 is reached from other hosts', '127.0.0.1')
  .addOption(jsonOption())
  .action((given: number, options: Options) => serve(given, options));

async function serve(given: number, { host, json }: Options): Promise<void> {
  const server = createEchoServer((request) => {
    process.stdout.write(json ? `${JSON.stringify(request)}\n` : textOf(request));
  });
  server.listen(given, host);
  await once(server, 'listening').catch((cause: unknown) => {
    const reason = (cause as NodeJS.ErrnoException).code ?? String(cause);
    throw new LongshoreError('E_USAGE', `cannot listen on ${host} port ${given}: ${reason}`, {
      cause,
      hint: 'Name another port, or 0 for any that is free.',
    });
  });
  // Not on stdout, which is what was asked for.
  process.stderr.write(`listening on http://${host}:${(server.address() as AddressInfo).port}\n`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      server.close();
      server.closeAllConnections();
    });
  await once(server, 'close');
}

/** What a stranger sent does not steer the terminal: control characters are shown as escapes. */
function textOf({ line, headers, body, bytes }: SeenRequest): string {
  const shown = body.split('\n').map(oneLine).join('\n');
  const kept = Buffer.byteLength(body);
  const more = bytes > kept ? `\n… ${bytes} bytes in all` : '';
  const head = [line, ...headers.map(([name, value]) => `${name}: ${value}`)].map(oneLine).join('\n');
  return `${head}\n\n${bytes === 0 ? '' : `${shown}${more}\n\n`}`;
}

function port(text: string): number {
  if (/^[0-9]{1,5}$/.test(text) && Number(text) < 65_536) return Number(text);
  throw new InvalidArgumentError('Expected a port from 0 to 65535.');
}

await runProgram(program);
