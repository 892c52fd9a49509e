/** Sends a mail by the site's own `sendmail` (config.email.sendmail_path), which queues it and tries again by itself. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { LongshoreError } from '../errors.ts';
import { environmentFor } from './environment.ts';

export interface MailConfig {
  readonly from_addr: string;
  readonly sendmail_path: string;
}

export interface Mail {
  readonly to: readonly string[];
  readonly subject: string;
  /** Plain text. */
  readonly text: string;
}

/** A sendmail that hangs must not hold up who tells. */
const PATIENCE_MS = 60_000;
const MAX_SAID = 2000;
/** Its last words may still be in the pipe when it has ended. */
const HEARD_WITHIN_MS = 1_000;

/**
 * Resolves when sendmail has taken it over.
 *
 * @throws E_USAGE an address or the subject is none, and might add headers or recipients of its own
 * @throws E_TOOL_MISSING, E_SUBPROCESS
 */
export async function sendMail(config: MailConfig, mail: Mail, patience_ms = PATIENCE_MS): Promise<void> {
  const message = composeMail(config.from_addr, mail);
  // `-i`: a line with a single dot does not end it. Recipients by argument: none is read out of the text.
  const args = ['-i', '-f', config.from_addr, '--', ...mail.to];
  await handOver(config.sendmail_path, args, message, patience_ms);
}

/** The message as it is handed to sendmail. Nothing that stands in `mail` can become a header of its own. */
export function composeMail(from: string, { to, subject, text }: Mail): string {
  if (to.length === 0) throw refused('recipient', '(none)', 'at least one address');
  for (const address of [from, ...to]) assertAddress(address);
  if (/[\r\n\0]/.test(subject)) throw refused('subject', subject, 'one line');
  const head = [
    `From: ${from}`,
    `To: ${to.join(',\n ')}`,
    `Subject: ${encodeHeader(subject)}`,
    `Date: ${new Date().toUTCString().replace('GMT', '+0000')}`,
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: base64',
  ];
  return `${head.join('\n')}\n\n${wrapped(Buffer.from(text).toString('base64'))}\n`;
}

/** One mailbox and nothing else: no name, no list, no option of sendmail. */
function assertAddress(address: string): void {
  if (/^[A-Za-z0-9][^\s,;:<>"()[\]\\@]*@[A-Za-z0-9.-]+$/.test(address) && address.length <= 320) return;
  throw refused('address', address, 'one plain mailbox, as ops@example.org');
}

const refused = (what: string, value: string, expected: string): LongshoreError =>
  new LongshoreError(
    'E_USAGE',
    `the ${what} ${JSON.stringify(value)} cannot stand in a mail; expected ${expected}`,
    {
      hint: 'Correct it in config.email.',
    },
  );

/** RFC 2047: words of at most 75 characters, each whole characters of UTF-8. */
function encodeHeader(text: string): string {
  if (/^[ -~]*$/.test(text) && text.length <= 900) return text;
  const words: string[] = [];
  let word = '';
  for (const character of text) {
    if (Buffer.byteLength(word + character) > 42) {
      words.push(word);
      word = '';
    }
    word += character;
  }
  return [...words, word].map((part) => `=?utf-8?B?${Buffer.from(part).toString('base64')}?=`).join('\n ');
}

const wrapped = (base64: string): string => (base64.match(/.{1,76}/g) ?? []).join('\n');

function handOver(
  program: string,
  args: readonly string[],
  message: string,
  patience_ms: number,
): Promise<void> {
  const child = spawn(program, [...args], { stdio: ['pipe', 'ignore', 'pipe'], env: environmentFor() });
  let said = '';
  const heard = new Promise((resolve) => child.stderr.once('close', resolve));
  child.stderr.on('data', (chunk: Buffer) => {
    if (said.length < MAX_SAID) said += chunk.toString();
  });
  // It may end without having read; its exit code tells what to make of that.
  child.stdin.on('error', () => undefined);
  child.stdin.end(message);
  const late = setTimeout(() => child.kill('SIGKILL'), patience_ms);
  return new Promise<void>((resolve, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'ENOENT' || cause.code === 'EACCES'
          ? new LongshoreError('E_TOOL_MISSING', `${program} cannot be run: ${cause.code}`, {
              cause,
              hint: 'Install a sendmail (postfix, msmtp-mta) or correct config.email.sendmail_path.',
            })
          : new LongshoreError('E_SUBPROCESS', `${program} could not be started: ${cause.message}`, {
              cause,
            }),
      ),
    );
    // Not `close` alone: a daemon that it left behind may hold its stderr open for ever.
    child.once('exit', (code, signal) => {
      if (code === 0) return resolve();
      const how = signal === null ? `ended with code ${code}` : `was ended by ${signal}`;
      void Promise.race([heard, sleep(HEARD_WITHIN_MS, undefined, { ref: false })]).then(() => {
        const more = said.trim() === '' ? '' : `: ${said.trim()}`;
        reject(new LongshoreError('E_SUBPROCESS', `${program} ${how}${more}; the mail was not sent`));
      });
    });
  }).finally(() => {
    clearTimeout(late);
    child.stderr.destroy();
  });
}
