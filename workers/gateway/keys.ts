/** The key pair of the gateway's tokens: made, read, and refused when it cannot be trusted. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Config } from '../../config/index.ts';
import { LongshoreError } from '../errors.ts';
import { makeFolders } from '../folders.ts';

/** RS256 may not be used with less (RFC 7518). */
const LEAST_BITS = 2048;
/** A token without an end is good for as long as the key is. */
const NEW_BITS = 3072;

export interface KeyFiles {
  private_key_file: string;
  public_key_file: string;
}

/**
 * Makes a pair where the configuration expects it. Files that are there are left as they are: another pair would make
 * every token worthless that was issued so far.
 *
 * @throws E_GATEWAY_KEY
 */
export function makeKeys({ gateway: { jwt } }: Config): KeyFiles {
  const { private_key_file, public_key_file } = jwt;
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: NEW_BITS,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  });
  writeNew(private_key_file, privateKey);
  try {
    writeNew(public_key_file, publicKey);
  } catch (error) {
    rmSync(private_key_file); // Ours: half a pair would stop the next attempt.
    throw error;
  }
  return { private_key_file, public_key_file };
}

function writeNew(file: string, text: string): void {
  try {
    makeFolders(dirname(file), 0o700);
    writeFileSync(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    const message = exists ? `there is a key in ${file} already` : `cannot write the key ${file}`;
    throw new LongshoreError('E_GATEWAY_KEY', message, {
      fields: { file },
      cause,
      hint: exists
        ? 'Move it away first; every token that was issued with it becomes worthless then.'
        : 'Correct config.gateway.jwt, or make its folder writable for this user.',
    });
  }
}

/** @throws E_GATEWAY_KEY */
export const readPublicKey = ({ gateway: { jwt } }: Config): KeyObject =>
  readKey(jwt.public_key_file, 'public', createPublicKey);

/** @throws E_GATEWAY_KEY also when others may read it */
export function readPrivateKey({ gateway: { jwt } }: Config): KeyObject {
  const file = jwt.private_key_file;
  const key = readKey(file, 'private', createPrivateKey);
  const mode = statSync(file).mode & 0o777;
  if ((mode & 0o077) !== 0)
    throw new LongshoreError(
      'E_GATEWAY_KEY',
      `the private key ${file} has mode ${mode.toString(8).padStart(4, '0')}; expected 0600, for its owner alone`,
      { fields: { file }, hint: `chmod 600 ${file}; if others may have read it, make a new pair.` },
    );
  return key;
}

/** The parser's own message stays out: it may quote what it read. */
function readKey(file: string, kind: 'public' | 'private', parse: (text: string) => KeyObject): KeyObject {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'there is no' : `cannot read (${code}) the`;
    throw new LongshoreError('E_GATEWAY_KEY', `${what} ${kind} key ${file}`, { fields: { file }, cause });
  }
  const key = parsed(() => parse(text));
  const bits = key?.asymmetricKeyDetails?.modulusLength ?? 0;
  if (key !== null && key.asymmetricKeyType === 'rsa' && bits >= LEAST_BITS) return key;
  const got = key === null ? 'something else' : `${key.asymmetricKeyType} of ${bits} bits`;
  throw new LongshoreError(
    'E_GATEWAY_KEY',
    `${file}: expected a PEM file with an RSA ${kind} key of ${LEAST_BITS} bits or more, got ${got}`,
    { fields: { file } },
  );
}

function parsed(parse: () => KeyObject): KeyObject | null {
  try {
    return parse();
  } catch {
    return null;
  }
}
