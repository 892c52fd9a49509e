/** The bare HTTP server: bodies, errors, request ids, one line in the log for each request. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import fastify, { type FastifyInstance, type FastifyReply, LogController } from 'fastify';
import type { Config } from '../../config/index.ts';
import type { Logger } from '../log.ts';
import { answerError } from './failures.ts';
import { validatorCompiler } from './validation.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** `sub` of the token; empty where none is asked for. */
    subject: string;
  }
}

export type App = FastifyInstance<Server, IncomingMessage, ServerResponse, Logger>;

export function newApp({ gateway: { body_bytes, root_path } }: Config, log: Logger): App {
  const app: App = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    bodyLimit: body_bytes,
    // A caller that sends its request drop by drop is given up.
    requestTimeout: 60_000,
    // An API asks for the workflows of all its datasets at once: at Node's 16 KiB that is 300 of them.
    http: { maxHeaderSize: 512 * 1024 },
    // What is no address at all is answered like one that is not there.
    frameworkErrors: (_error, _request, reply) => {
      void notThere(reply);
    },
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    routerOptions: { ignoreTrailingSlash: true },
    // One set of routes under both addresses: a proxy may take the root path away, or leave it.
    rewriteUrl: ({ url = '/' }) => withoutRoot(url, root_path),
  });
  app.setValidatorCompiler(validatorCompiler);
  // As it is: the answers are made by one place from typed values, and tests hold them to the schemas.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.setErrorHandler(answerError);
  app.setNotFoundHandler((_, reply) => notThere(reply));
  acceptBodies(app);
  app.decorateRequest('subject', '');
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id);
  });
  app.addHook('onResponse', async ({ log: own, method, originalUrl, subject }, reply) => {
    const { statusCode: status, elapsedTime } = reply;
    const url = shortened(originalUrl);
    own.info({ method, url, status, ms: Math.round(elapsedTime), subject }, 'request');
  });
  return app;
}

/** The ids of ten thousand workflows are half a megabyte, with each look that somebody's page takes at them. */
const shortened = (url: string): string =>
  url.length <= LOGGED ? url : `${url.slice(0, LOGGED)}… (${url.length} characters)`;
const LOGGED = 2000;

const notThere = (reply: FastifyReply) => reply.code(404).send({ detail: 'Not Found' });

function withoutRoot(url: string, root_path: string): string {
  if (root_path === '' || !url.startsWith(root_path)) return url;
  const rest = url.slice(root_path.length);
  if (rest === '' || rest.startsWith('?')) return `/${rest}`;
  return rest.startsWith('/') ? rest : url;
}

/**
 * A body that no route reads is let pass, whatever it calls itself: clients send a content type with a POST that has none.
 * Where one is needed, what is no JSON counts as missing, as with the reference.
 */
function acceptBodies(app: App): void {
  const parseJson = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    if (body.trim() === '') done(null, undefined);
    else void parseJson(request, body, done);
  });
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_, _body, done) => done(null, undefined));
}
