import { type Command, InvalidArgumentError, Option } from 'commander';
import { commandConfig } from '../../../config/index.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { dryRunOption, helpTail, jsonOption } from '../program.ts';
import { printJson } from '../session.ts';

interface Options {
  sub?: string;
  expiresIn?: number;
  expires_in?: number;
  newKeys?: boolean;
  dryRun?: boolean;
  json?: boolean;
}

export function addToken(program: Command): void {
  program
    .command('token')
    .description('issue a token for the workflow server (longshore gateway), or make its key pair')
    .option('--sub <name>', 'whose it is; stands in the history of all that is done with it', subject)
    .option('--expires-in <seconds>', 'default: it never ends', seconds)
    .addOption(new Option('--expires_in <seconds>', 'the same').argParser(seconds).hideHelp())
    .option('--new-keys', 'make the key pair that config.gateway.jwt names; one that is there is kept')
    .addOption(dryRunOption())
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore token --new-keys',
        'longshore token --sub bioloop-api',
        'longshore token --sub ana --expires-in 3600 --json',
      ]),
    )
    .action(async ({ newKeys = false, ...options }: Options) => {
      if (newKeys === (options.sub !== undefined))
        throw new LongshoreError('E_USAGE', 'expected either --sub or --new-keys');
      await (newKeys ? makePair(options) : issue(options));
    });
}

async function makePair({ dryRun = false, json = false }: Options): Promise<void> {
  const config = await commandConfig();
  const { private_key_file, public_key_file } = config.gateway.jwt;
  const { makeKeys } = await import('../../../workers/gateway/keys.ts');
  if (!dryRun) makeKeys(config);
  const made = { private_key_file, public_key_file };
  if (json) return printJson({ ...(dryRun ? { dry_run: true } : {}), ...made });
  const would = dryRun ? ' would be made (dry run: nothing was changed)' : '';
  process.stdout.write(`private key ${private_key_file}${would}\npublic key  ${public_key_file}${would}\n`);
}

/** The token alone on stdout, so that it can be piped where it belongs. */
async function issue(options: Options): Promise<void> {
  const { sub = '', dryRun = false, json = false } = options;
  const config = await commandConfig();
  const { issuer } = config.gateway.jwt;
  const expires_in = options.expiresIn ?? options.expires_in;
  const [{ readPrivateKey }, { issueToken }] = await Promise.all([
    import('../../../workers/gateway/keys.ts'),
    import('../../../workers/gateway/tokens.ts'),
  ]);
  const key = readPrivateKey(config);
  const about = { sub, iss: issuer, expires_in: expires_in ?? null };
  if (dryRun) {
    if (json) return printJson({ dry_run: true, ...about });
    process.stdout.write(`a token for ${sub} of ${issuer} would be issued (dry run)\n`);
    return;
  }
  const ends = expires_in === undefined ? {} : { expires_in_seconds: expires_in };
  const token = await issueToken(key, { issuer, subject: sub, ...ends });
  if (json) printJson({ token, ...about });
  else process.stdout.write(`${token}\n`);
}

function subject(text: string): string {
  if (text.trim() !== '') return text;
  throw new InvalidArgumentError('Expected a name.');
}

function seconds(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value > 0 && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('Expected a whole number of seconds, at least 1.');
}
