/** The OpenAPI document, made from the schemas of the routes, and the page that shows it. */
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { z } from 'zod';
import type { Config } from '../../config/index.ts';
import type { App } from './app.ts';

const DESCRIPTION =
  'Lists, starts, pauses, resumes and deletes workflows. The shapes are those of the workflow server that a Bioloop API expects. Every path is served below the root path and without it.';

/** Before the routes: it collects them as they are added. */
export async function describeRoutes(app: App, { gateway }: Config, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Longshore workflow server', version, description: DESCRIPTION },
      servers: [{ url: gateway.root_path === '' ? '/' : gateway.root_path }],
      components: {
        securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
      },
    },
    transform: ({ schema, url }) => ({ schema: asJsonSchemas(schema), url }),
  });
  if (!gateway.docs) return;
  await app.register(swaggerUi, { routePrefix: '/docs', indexPrefix: gateway.root_path });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
}

const PARTS_IN = ['body', 'querystring', 'params', 'headers'] as const;

function asJsonSchemas<T extends object | undefined>(schema: T): T & object {
  const made: Record<string, unknown> = { ...schema };
  for (const part of PARTS_IN)
    if (made[part] instanceof z.ZodType) made[part] = jsonSchema(made[part], 'input');
  if (typeof made.response === 'object' && made.response !== null)
    made.response = Object.fromEntries(
      Object.entries(made.response).map(([status, answer]: [string, unknown]) => [
        status,
        answer instanceof z.ZodType ? jsonSchema(answer, 'output') : answer,
      ]),
    );
  return made as T & object;
}

function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, {
    io,
    // zod leaves the default of what it transforms out.
    override: ({ zodSchema, jsonSchema: made }) => {
      const known = z.globalRegistry.get(zodSchema)?.default;
      if (known !== undefined) made.default = known;
    },
  });
  return rest;
}
