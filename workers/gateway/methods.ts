/** An address that is there, asked in a way that it does not know: 405, which FastAPI answers, and not that it is nowhere. */
import type { App } from './app.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/**
 * To be called before the first route; what it returns, after the last one. Without a token, as with the reference: the
 * method is looked at before anything else. RFC 9110, 15.5.6: `Allow` names what the address knows.
 */
export function watchMethods(app: App): () => void {
  const known = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    const methods = known.get(url) ?? new Set();
    for (const one of [method].flat()) methods.add(one);
    known.set(url, methods);
  });
  return () => {
    for (const [url, methods] of known) {
      const others = METHODS.filter((method) => !methods.has(method));
      if (others.length === 0) continue;
      const allow = [...methods].toSorted().join(', ');
      app.route({
        method: others,
        url,
        schema: { hide: true },
        handler: (_, reply) => reply.code(405).header('allow', allow).send({ detail: 'Method Not Allowed' }),
      });
    }
  };
}
