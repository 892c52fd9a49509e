import { z } from 'zod';
import { absolutePath, text } from './scalars.ts';

/** Numbers and switches may come from the environment, which knows only texts. */
const number = z.union([z.int(), z.string().regex(/^\d+$/, 'expected digits').transform(Number)], {
  error: 'expected a whole number',
});
const flag = z.union([z.boolean(), z.stringbool()], { error: 'expected true or false' });

/** The HTTP gateway: the workflow server that a Bioloop API calls, see docs/workflow-server.md. */
export const gateway = z.strictObject({
  /** Whether pm2 starts it with the others. */
  enabled: flag,
  /** Other machines reach it through a proxy that speaks TLS; it does not itself. */
  host: text,
  port: number.pipe(z.int().min(0).max(65_535)),
  /** Served there, and without it as well, since a proxy may take it away. Empty: only without. */
  root_path: z.string().regex(/^(\/[A-Za-z0-9._~-]+)*$/, 'expected "" or a path as /rhythm'),
  /** A longer request body is refused. */
  body_bytes: z.int().min(1024),
  /** Most workflows in one answer; a request for more gets so many, and the metadata say so. */
  page_limit: z.int().min(1).max(10_000),
  /**
   * Refuse to start a workflow for a dataset on which another one is at work. The reference does not: its API asks
   * first, and by name.
   */
  refuse_second: z.boolean(),
  /** The pages below /docs and /openapi.json, which need no token. */
  docs: z.boolean(),
  jwt: z.strictObject({
    /** To issue tokens (`longshore token`); the gateway itself never reads it. */
    private_key_file: absolutePath,
    /** Tokens that this key did not sign are refused. PEM, RSA of 2048 bits or more. */
    public_key_file: absolutePath,
    /** What `iss` of every token must be. */
    issuer: text,
  }),
});
