/** POST and DELETE: what is done to workflows. */
import type { z } from 'zod';
import type { App } from '../app.ts';
import type { Operations } from '../operations.ts';
import * as shapes from '../shapes.ts';
import { answers, bearer } from './answers.ts';

type Params = z.output<typeof shapes.workflowParams>;

export function addChanging(app: App, operations: Operations): void {
  const common = { tags: ['workflows'], security: bearer };
  const onOne = { ...common, params: shapes.workflowParams };
  app.post<{ Body: shapes.CreateBody; Headers: z.output<typeof shapes.createHeaders> }>(
    '/workflows',
    {
      schema: {
        ...common,
        summary: 'Records a workflow and starts it',
        operationId: 'createWorkflow',
        headers: shapes.createHeaders,
        body: shapes.createBody,
        response: answers(shapes.created, 'it was started', 400, 409, 503),
      },
    },
    async ({ body, headers, subject }) => {
      const from = { actor: subject, key: headers['idempotency-key'] };
      return { workflow_id: await operations.create(body, from) };
    },
  );
  app.post<{ Params: Params }>(
    '/workflows/:id/pause',
    {
      schema: {
        ...onOne,
        summary: 'Stops the step that runs or is next',
        operationId: 'pauseWorkflow',
        response: answers(shapes.paused, 'whether it was stopped', 404, 503),
      },
    },
    ({ params, subject }) => operations.pause(params.id, subject),
  );
  app.post<{
    Params: Params;
    Querystring: z.output<typeof shapes.resumeQuery>;
    Body: z.output<typeof shapes.resumeBody>;
  }>(
    '/workflows/:id/resume',
    {
      schema: {
        ...onOne,
        summary: 'Goes on with the step that failed or was stopped, or that got stuck',
        operationId: 'resumeWorkflow',
        querystring: shapes.resumeQuery,
        body: shapes.resumeBody,
        response: answers(shapes.resumed, 'whether it goes on', 400, 404, 503),
      },
    },
    ({ params, query, body, subject }) =>
      operations.resume(params.id, {
        actor: subject,
        force: query.force,
        ...(body.args == null ? {} : { args: body.args }),
      }),
  );
  app.delete<{ Params: Params }>(
    '/workflows/:id',
    {
      schema: {
        ...onOne,
        summary: 'Stops what runs of it and removes its records',
        operationId: 'deleteWorkflow',
        response: answers(shapes.deleted, '1, or 0 when there is no such workflow', 503),
      },
    },
    ({ params, subject }) => operations.delete(params.id, subject),
  );
}
