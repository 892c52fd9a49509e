import type { KeyObject } from 'node:crypto';
import type { Config } from '../../config/index.ts';
import type { App } from './app.ts';
import { verifyHeader } from './tokens.ts';

/** Every route of this part asks for a token, before anything of the request is read. */
export function requireToken(app: App, { gateway: { jwt } }: Config, public_key: KeyObject): void {
  app.addHook('onRequest', async (request, reply) => {
    const verdict = await verifyHeader(request.headers.authorization, public_key, jwt.issuer);
    if ('subject' in verdict) {
      request.subject = verdict.subject;
      return;
    }
    request.log.info({ reason: verdict.refused, ip: request.ip }, 'a request without a valid token');
    await reply.code(401).header('www-authenticate', 'Bearer').send({ detail: verdict.refused });
  });
}
