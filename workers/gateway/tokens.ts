/** Bearer tokens: RS256 JWTs with the claims of the reference, so that those it issued stay good with its key. */
import type { KeyObject } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';

export interface Issue {
  issuer: string;
  /** Whose token it is; stands in the audit trail for what is done with it. */
  subject: string;
  /** Without it the token has no end. */
  expires_in_seconds?: number;
}

export async function issueToken(private_key: KeyObject, issue: Issue): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const token = new SignJWT({ source: 'microservice' })
    .setProtectedHeader({ alg: 'RS256', typ: 'JWT' })
    .setIssuedAt(now)
    .setIssuer(issue.issuer)
    .setSubject(issue.subject);
  if (issue.expires_in_seconds !== undefined) token.setExpirationTime(now + issue.expires_in_seconds);
  return token.sign(private_key);
}

export type Verdict = { subject: string } | { refused: string };

/**
 * Who presents this Authorization header. A refusal says what is wrong with the claims, which whoever holds the token can
 * read anyway, and nothing about keys.
 */
export async function verifyHeader(
  header: string | undefined,
  public_key: KeyObject,
  issuer: string,
): Promise<Verdict> {
  const [scheme = '', token = '', ...rest] = (header ?? '').split(' ').filter((part) => part !== '');
  if (scheme === '') return { refused: 'Not authenticated' };
  if (scheme.toLowerCase() !== 'bearer' || token === '' || rest.length > 0)
    return { refused: 'Invalid authentication credentials: expected "Bearer <token>"' };
  try {
    // The list of algorithms is what keeps a token out that names `none`, or HS256 with our public key as its secret.
    const { payload } = await jwtVerify(token, public_key, { algorithms: ['RS256'], issuer });
    if (typeof payload.sub === 'string' && payload.sub.trim() !== '') return { subject: payload.sub };
    return { refused: 'Invalid token: sub is empty' };
  } catch (error) {
    return { refused: refusalOf(error) };
  }
}

function refusalOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'Invalid token: it has expired';
  if (error instanceof errors.JWTClaimValidationFailed)
    return `Invalid token: ${error.claim} is not what is expected`;
  if (error instanceof errors.JOSEError || error instanceof TypeError) return 'Invalid token';
  throw error;
}
