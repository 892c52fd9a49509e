import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { composeMail, sendMail } from '../../workers/tools/mail.ts';
import { makePlace } from '../support/place.ts';

afterEach(() => vi.unstubAllEnvs());

const sendmail_path = join(import.meta.dirname, '../fixtures/bin/sendmail');
const config = { from_addr: 'longshore@example.org', sendmail_path };

/** Headers, continued lines joined, and the decoded text. */
function read(message: string): { headers: Record<string, string>; text: string } {
  const [head = '', ...rest] = message.split('\n\n');
  const lines = head.replaceAll('\n ', ' ').split('\n');
  const headers = Object.fromEntries(lines.map((line) => line.split(/: (.*)/, 2) as [string, string]));
  return { headers, text: Buffer.from(rest.join('\n\n'), 'base64').toString() };
}

const decoded = (header: string): string =>
  header
    .split(' ')
    .map((word) => Buffer.from(word.replace(/^=\?utf-8\?B\?|\?=$/g, ''), 'base64').toString())
    .join('');

async function outbox() {
  const place = await makePlace();
  vi.stubEnv('STUB_MAIL', place.path('mail'));
  const file = (name: string): string => readFileSync(place.path(`mail.${name}`), 'utf8');
  return {
    place,
    args: () => file('args').trim().split('\n'),
    message: () => read(file('message')),
    sent: () => existsSync(place.path('mail.message')),
  };
}

test('a mail reaches sendmail with its recipients as arguments and any text as it is', async () => {
  const { args, message } = await outbox();
  const text = 'Grüße,\n.\nFrom here\n試験\n';
  const to = ['ops@example.org', 'night.shift+tape@example.org'];
  await sendMail(config, { to, subject: 'Käse: damaged 試験 '.repeat(6).trim(), text });
  expect(args()).toEqual(['-i', '-f', 'longshore@example.org', '--', ...to]);
  const { headers, text: got } = message();
  expect(got).toBe(text);
  expect(headers).toMatchObject({ From: 'longshore@example.org', To: to.join(', ') });
  expect(decoded(headers.Subject ?? '')).toBe('Käse: damaged 試験 '.repeat(6).trim());
  expect(Number.isNaN(Date.parse(headers.Date ?? ''))).toBe(false);
});

test('every line is as short as the protocol asks for', () => {
  const mail = { to: ['a@b.org'], subject: 'ü'.repeat(500), text: 'x'.repeat(100_000) };
  for (const line of composeMail('c@d.org', mail).split('\n')) expect(line.length).toBeLessThanOrEqual(78);
});

test.each([
  ['a subject with a line of its own', { subject: 'x\nBcc: evil@example.org' }],
  ['a subject with a carriage return', { subject: 'x\rBcc: evil@example.org' }],
  ['an address with a header behind it', { to: ['ops@example.org\nBcc: evil@example.org'] }],
  ['a list in one address', { to: ['ops@example.org,evil@example.org'] }],
  ['an option of sendmail in place of an address', { to: ['-oQ/tmp@example.org'] }],
  ['an address with a name', { to: ['"Ops" <ops@example.org>'] }],
  ['nobody', { to: [] }],
])('%s is refused, and nothing is sent', async (_, wrong) => {
  const { sent } = await outbox();
  const mail = { to: ['ops@example.org'], subject: 'fine', text: 'fine', ...wrong };
  await expect(sendMail(config, mail)).rejects.toMatchObject({ code: 'E_USAGE' });
  expect(sent()).toBe(false);
});

test('a sendmail that is missing, fails or hangs is told with what it said', async () => {
  const { place } = await outbox();
  const mail = { to: ['ops@example.org'], subject: 'fine', text: 'fine' };
  await expect(sendMail({ ...config, sendmail_path: '/no/sendmail' }, mail)).rejects.toMatchObject({
    code: 'E_TOOL_MISSING',
    hint: expect.stringContaining('config.email.sendmail_path'),
  });
  vi.stubEnv('STUB_MAIL_FAIL', 'queue is full');
  await expect(sendMail(config, mail)).rejects.toMatchObject({
    code: 'E_SUBPROCESS',
    message: expect.stringContaining('code 75: queue is full'),
  });
  const deaf = place.path('deaf');
  writeFileSync(deaf, '#!/bin/sh\nexec sleep 600\n');
  chmodSync(deaf, 0o755);
  await expect(sendMail({ ...config, sendmail_path: deaf }, mail, 100)).rejects.toMatchObject({
    message: expect.stringContaining('SIGKILL'),
  });
});
