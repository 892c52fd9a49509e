/** GET: what can be read without Redis. */
import type { z } from 'zod';
import type { Config } from '../../../config/index.ts';
import type { Logger } from '../../log.ts';
import type { Records, WorkflowWithRuns } from '../../records/contract.ts';
import type { Engine } from '../../workflows/engine.ts';
import { toServed } from '../../workflows/status.ts';
import type { App } from '../app.ts';
import * as shapes from '../shapes.ts';
import { toWire } from '../wire.ts';
import { answers, bearer } from './answers.ts';

export interface ReadingParts {
  config: Config;
  engine: Engine;
  records: Records;
}

export function addReading(app: App, { config, engine, records }: ReadingParts): void {
  const common = { tags: ['workflows'], security: bearer };
  app.get<{ Querystring: shapes.ListQuery }>(
    '/workflows',
    {
      schema: {
        ...common,
        summary: 'Workflows by filter, newest first',
        operationId: 'listWorkflows',
        querystring: shapes.listQuery,
        response: answers(shapes.page, 'one page', 503),
      },
    },
    ({ query, log }) => listPage(records, query, { config, log }),
  );
  app.get<{ Querystring: z.output<typeof shapes.countsQuery> }>(
    '/workflows/counts_by_status',
    {
      schema: {
        ...common,
        summary: 'How many workflows of an application have each status',
        operationId: 'countWorkflows',
        querystring: shapes.countsQuery,
        response: answers(shapes.counts, 'all five, zeros too', 503),
      },
    },
    async ({ query }) => {
      const { PENDING, STARTED, FAILURE, REVOKED, SUCCESS } = await records.countWorkflows(
        query.app_id ?? null,
      );
      return { PENDING, STARTED, FAILURE, REVOKED, SUCCESS };
    },
  );
  app.get<{
    Params: z.output<typeof shapes.workflowParams>;
    Querystring: z.output<typeof shapes.workflowQuery>;
  }>(
    '/workflows/:id',
    {
      schema: {
        ...common,
        summary: 'One workflow',
        operationId: 'showWorkflow',
        params: shapes.workflowParams,
        querystring: shapes.workflowQuery,
        response: answers(shapes.workflow, 'the workflow', 404, 503),
      },
    },
    async ({ params, query }) =>
      toWire(await engine.show(params.id, query), config.workflow.resume_lock_seconds),
  );
}

interface ShownParts {
  config: Config;
  log: Pick<Logger, 'error'>;
}

async function listPage(
  records: Records,
  query: shapes.ListQuery,
  parts: ShownParts,
): Promise<z.output<typeof shapes.page>> {
  const { status, app_id, workflow_id, workflow_name, skip, sort_order_asc } = query;
  const most = parts.config.gateway.page_limit;
  // 0 is "no limit" to the reference's database.
  const limit = query.limit === 0 ? most : Math.min(query.limit, most);
  const { total, results } = await records.listWorkflows(
    {
      ...(status === undefined ? {} : { status }),
      ...(app_id === undefined ? {} : { app_id }),
      ...(workflow_id === undefined ? {} : { workflow_ids: workflow_id }),
      ...(workflow_name === undefined ? {} : { name: workflow_name }),
      skip,
      limit,
      sort_order_asc,
    },
    { prev_runs: query.prev_task_runs },
  );
  return {
    metadata: { total, limit, skip },
    results: results.flatMap((found) => shown(found, query, parts)),
  };
}

/** One document that somebody else has spoilt must not hide the page it is on. */
function shown(
  found: WorkflowWithRuns,
  query: shapes.ListQuery,
  { config, log }: ShownParts,
): shapes.WireWorkflow[] {
  try {
    return [toWire(toServed(found, query), config.workflow.resume_lock_seconds)];
  } catch (error) {
    log.error({ err: error, workflow_id: found.workflow.id }, 'a workflow cannot be shown; it was left out');
    return [];
  }
}
