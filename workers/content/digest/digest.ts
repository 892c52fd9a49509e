import { createHash, hash } from 'node:crypto';
import { Blake3Hasher } from '@napi-rs/blake-hash';
import type { DigestName } from '../../../config/index.ts';

/** Hex digests by name. */
export type Digests = Record<string, string>;

export interface Hasher {
  update(bytes: Buffer): void;
  digests(): Digests;
  /** Of what it was given so far; more may follow. */
  soFar(): Digests;
}

interface Running {
  update(bytes: Buffer): unknown;
  digest(format: 'hex'): string;
  soFar(): string;
}

interface Algorithm {
  once(bytes: Buffer): string;
  start(): Running;
}

const openssl = (name: string): Algorithm => ({
  once: (bytes) => hash(name, bytes, 'hex'),
  start: () => {
    const running = createHash(name);
    return {
      update: (bytes) => running.update(bytes),
      digest: (format) => running.digest(format),
      soFar: () => running.copy().digest('hex'),
    };
  },
});

/**
 * Hashers are used again and again. What the addon allocates is freed only when the event loop turns, and the threads
 * never let it turn: `blake3()` kept 330 bytes for each small file, half a gigabyte after a million.
 */
const idle: Blake3Hasher[] = [];

function startBlake3(): Running {
  const hasher = idle.pop() ?? new Blake3Hasher();
  hasher.reset();
  return {
    update: (bytes) => hasher.update(bytes),
    digest: (format) => {
      const digest = hasher.digest(format);
      idle.push(hasher);
      return digest;
    },
    soFar: () => hasher.digest('hex'), // It does not end there.
  };
}

const ALGORITHMS: Readonly<Record<DigestName, Algorithm>> = {
  blake3: {
    once: (bytes) => {
      const running = startBlake3();
      running.update(bytes);
      return running.digest('hex');
    },
    start: startBlake3,
  },
  md5: openssl('md5'),
  sha256: openssl('sha256'),
};

/** Records of other systems may name digests that nothing here computes. */
export const isDigestName = (name: string): name is DigestName => Object.hasOwn(ALGORITHMS, name);

/** All the named digests of one buffer. */
export function digestOf(names: readonly DigestName[], bytes: Buffer): Digests {
  const digests: Digests = {};
  for (const name of names) digests[name] = ALGORITHMS[name].once(bytes);
  return digests;
}

/** All the named digests of a stream of buffers. */
export function createHasher(names: readonly DigestName[]): Hasher {
  const running = names.map((name) => [name, ALGORITHMS[name].start()] as const);
  return {
    update: (bytes) => {
      for (const [, one] of running) one.update(bytes);
    },
    digests: () => Object.fromEntries(running.map(([name, one]) => [name, one.digest('hex')])),
    soFar: () => Object.fromEntries(running.map(([name, one]) => [name, one.soFar()])),
  };
}

/** The first digest that differs or is missing, or null. Only digests that were expected are compared. */
export function digestMismatch(
  expected: Readonly<Digests>,
  actual: Readonly<Digests>,
): { digest: string; expected: string; actual: string | null } | null {
  for (const [digest, value] of Object.entries(expected)) {
    if (actual[digest] !== value) return { digest, expected: value, actual: actual[digest] ?? null };
  }
  return null;
}

const ZEROS = Buffer.alloc(256 * 1024);

/** The digest of a file with holes is that of all its bytes. */
export function feedZeros(hasher: Hasher, count: number): void {
  for (let left = count; left > 0; left -= ZEROS.length) {
    hasher.update(left >= ZEROS.length ? ZEROS : ZEROS.subarray(0, left));
  }
}
