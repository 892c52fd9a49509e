import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { makeWorkflow, succeed } from '../records/fixture.ts';
import { bodyOf, makeGateway } from './gateway.ts';

interface Operation {
  operationId: string;
  summary: string;
  security?: object[];
  parameters?: { name: string; in: string; required?: boolean; schema: object; description?: string }[];
  requestBody?: { required?: boolean; content: { 'application/json': { schema: object } } };
  responses: Record<string, { description: string; content: { 'application/json': { schema: object } } }>;
}

interface Document {
  openapi: string;
  info: { title: string; version: string };
  servers: { url: string }[];
  components: { securitySchemes: Record<string, object> };
  paths: Record<string, Record<string, Operation>>;
}

const ROUTES = [
  'GET /health',
  'GET /workflows',
  'POST /workflows',
  'GET /workflows/counts_by_status',
  'GET /workflows/{id}',
  'DELETE /workflows/{id}',
  'POST /workflows/{id}/pause',
  'POST /workflows/{id}/resume',
  'GET /tasks/unique',
];

const operationsOf = ({ paths }: Document) =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      route: `${method.toUpperCase()} ${path}`,
      path,
      operation,
    })),
  );

test('the OpenAPI document is valid and has every route with its parameters, bodies and answers', async () => {
  const { ask } = await makeGateway();
  const { status, body } = await ask<Document>('/openapi.json', { authorization: null });
  expect(status).toBe(200);
  expect(body.openapi).toMatch(/^3\.1\./);
  expect(body.info).toMatchObject({ title: expect.stringMatching(/\S/) as string, version: '0.0.0' });
  expect(body.servers).toEqual([{ url: '/rhythm' }]);
  const operations = operationsOf(body);
  expect(operations.map(({ route }) => route).toSorted()).toEqual(ROUTES.toSorted());
  const ids = operations.map(({ operation }) => operation.operationId);
  expect(new Set(ids).size).toBe(ids.length);

  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  for (const { route, path, operation } of operations) {
    const { parameters = [], requestBody, responses, security, summary } = operation;
    expect(summary, route).toMatch(/\S/);
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    expect(
      parameters.filter((one) => one.in === 'path').map(({ name }) => name),
      route,
    ).toEqual(inPath);
    for (const parameter of parameters) {
      expect(parameter.description, `${route} ${parameter.name}`).toMatch(/\S/);
      if (parameter.in === 'path') expect(parameter.required, route).toBe(true);
      ajv.compile(parameter.schema);
    }
    if (requestBody !== undefined) ajv.compile(requestBody.content['application/json'].schema);
    expect(Object.keys(responses), route).toContain('200');
    for (const answer of Object.values(responses)) {
      expect(answer.description, route).toMatch(/\S/);
      ajv.compile(answer.content['application/json'].schema);
    }
    if (route === 'GET /health') expect(security).toBeUndefined();
    else {
      expect(security, route).toEqual([{ bearer: [] }]);
      expect(Object.keys(responses), route).toEqual(expect.arrayContaining(['401', '422']));
    }
  }
  expect(body.components.securitySchemes).toEqual({
    bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
  });
});

test('the query of the list is documented with its defaults and words', async () => {
  const { app } = await makeGateway();
  const document = app.swagger() as unknown as Document;
  const { parameters, requestBody } = document.paths['/workflows']?.get ?? {};
  const schemaOf = (name: string) => parameters?.find((one) => one.name === name)?.schema;
  expect(schemaOf('limit')).toMatchObject({ type: 'integer', default: 10, minimum: 0 });
  expect(schemaOf('last_task_run')).toMatchObject({ type: 'boolean', default: true });
  expect(schemaOf('workflow_id')).toMatchObject({ type: 'array', items: { type: 'string' } });
  expect(schemaOf('status')).toMatchObject({
    enum: expect.arrayContaining(['DONE', 'ACTIVE', 'EXCEPTION']) as string[],
  });
  expect(requestBody).toBeUndefined();
  const [app_id] = document.paths['/tasks/unique']?.get?.parameters ?? [];
  expect(app_id).toMatchObject({ name: 'app_id', required: true });
  const body = document.paths['/workflows']?.post?.requestBody?.content['application/json'].schema;
  expect(body).toMatchObject({ required: ['name', 'app_id', 'steps', 'args'] });
});

test('what is really answered is what the document says, answer by answer', async () => {
  const { ask, app, place, store } = await makeGateway();
  const document = app.swagger() as unknown as Document;
  const workflow = makeWorkflow({ dataset_id: null });
  await store.records.createWorkflow(workflow);
  await succeed(store.records, workflow, 1);
  const one = `/workflows/${workflow.id}`;
  const asked: [route: string, path: string, ask?: Parameters<typeof ask>[1]][] = [
    ['GET /health', '/health'],
    ['GET /workflows', '/workflows?prev_task_runs=1'],
    ['GET /workflows', '/workflows', { authorization: null }],
    ['GET /workflows', '/workflows?limit=x'],
    ['GET /workflows/counts_by_status', '/workflows/counts_by_status?app_id=x'],
    ['GET /workflows/{id}', one],
    ['GET /workflows/{id}', '/workflows/none'],
    ['GET /tasks/unique', '/tasks/unique?app_id=x'],
    ['POST /workflows', '/workflows', { json: bodyOf(place.config) }],
    ['POST /workflows', '/workflows', { json: bodyOf(place.config, { steps: [] }) }],
    ['POST /workflows', '/workflows', { json: [] }],
    ['POST /workflows/{id}/pause', `${one}/pause`, { method: 'POST' }],
    ['POST /workflows/{id}/resume', `${one}/resume`, { json: {} }],
    ['POST /workflows/{id}/resume', `${one}/resume`, { method: 'POST' }],
    ['DELETE /workflows/{id}', one, { method: 'DELETE' }],
  ];
  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  const operations = new Map(operationsOf(document).map(({ route, operation }) => [route, operation]));
  for (const [route, path, how] of asked) {
    const { status, body } = await ask(path, how);
    const schema = operations.get(route)?.responses[status]?.content['application/json'].schema;
    expect(schema, `${route} answers ${status}, which is not documented`).toBeDefined();
    const valid = ajv.validate(schema ?? false, body);
    expect(valid, `${route}: ${ajv.errorsText()} in ${JSON.stringify(body)}`).toBe(true);
  }
  expect(new Set(asked.map(([route]) => route))).toEqual(new Set(ROUTES));
});

test('the page is there below the root path and without it, with all that it loads; it can be switched off', async () => {
  const { ask } = await makeGateway();
  for (const page of ['/docs', '/docs/', '/rhythm/docs', '/rhythm/docs/']) {
    const { status, body } = await ask<string>(page, { authorization: null });
    expect(status, page).toBe(200);
    const parts = [...body.matchAll(/(?:src|href)="([^"]+\.(?:js|css))"/g)].map(([, link = '']) => link);
    expect(parts.length).toBeGreaterThan(2);
    for (const link of parts) {
      const { pathname } = new URL(link, `${ask.base}${page}`);
      expect((await ask(pathname, { authorization: null })).status, pathname).toBe(200);
    }
  }
  const without = await makeGateway({ overrides: { gateway: { docs: false } } });
  for (const page of ['/docs', '/openapi.json']) expect((await without.ask(page)).status, page).toBe(404);
});
