/** What Node says of a connection that broke, or could not be made: the same for every server. */
const SOCKET_CODES: ReadonlySet<string> = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

export const isSocketFailure = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && SOCKET_CODES.has((error as NodeJS.ErrnoException).code ?? '');
