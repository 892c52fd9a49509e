/** The endpoints of workflows and process logs of the double. */
import { type Behaviour, isSet, type Route } from './bioloop-call.ts';
import { type BioloopStore, broken, conflict, invalid } from './bioloop-store.ts';

export function workflowRoutes(store: BioloopStore, behaviour: Behaviour): Route[] {
  const served = (id: string): Record<string, unknown> => {
    const found = behaviour.workflowServer ? behaviour.served.get(id) : undefined;
    if (found === undefined) throw broken(); // Any failure of the workflow server, its 404 too.
    return found;
  };
  return [
    [
      'GET',
      /^workflows$/,
      ({ query }) => {
        const id = query.get('workflow_id');
        // Asked for by its id, it is looked for at the workflow server only, and a filter by dataset is ignored.
        if (id !== null) {
          if (!behaviour.workflowServer) throw broken();
          const found = behaviour.served.get(id);
          const results = found === undefined ? [] : [{ ...found, initiator: null }];
          return { metadata: { total: results.length, limit: 10, skip: 0 }, results };
        }
        const of = query.get('dataset_id');
        const rows = [...store.workflows.values()].filter(
          (row) => of === null || row.dataset_id === Number(of),
        );
        if (rows.length === 0) return { metadata: { total: 0 }, results: [] };
        if (!behaviour.workflowServer) throw broken();
        // Newest first; what is not asked for is the workflow server's default.
        const results = rows.toReversed().flatMap((row) => {
          const workflow = behaviour.served.get(row.id);
          return workflow === undefined ? [] : [{ ...workflow, dataset_id: row.dataset_id, initiator: null }];
        });
        const limit = Number(query.get('limit') ?? 10);
        return { metadata: { total: results.length, limit, skip: 0 }, results: results.slice(0, limit) };
      },
    ],
    [
      'GET',
      /^workflows\/current$/,
      () => [...store.workflows.values()].map((row) => ({ ...row, metadata: null })),
    ],
    [
      'POST',
      /^workflows\/processes$/,
      ({ body }) => {
        const given = body as Record<string, unknown>;
        if (typeof given.workflow_id === 'string' && !store.workflows.has(given.workflow_id))
          throw conflict();
        const id = store.nextId();
        store.processes.set(id, { id, ...given });
        store.logs.set(id, []);
        return { id, ...given };
      },
    ],
    [
      'POST',
      /^workflows\/processes\/(\d+)\/logs$/,
      ({ body }, [id]) => {
        const lines = body as { timestamp: string; level?: string; message?: string }[];
        if (!Array.isArray(lines)) throw invalid('Invalid value', '');
        for (const [at, { message }] of lines.entries())
          if (typeof message !== 'string' || message === '')
            throw invalid('Invalid value', `[${at}].message`);
        const log = store.logs.get(Number(id));
        if (log === undefined) throw conflict(); // A foreign key of Postgres.
        for (const { timestamp, level, message } of lines)
          log.push({ timestamp, level: level ?? 'stdout', message: message ?? '' });
        return { count: lines.length };
      },
    ],
    [
      'GET',
      /^workflows\/([^/]+)$/,
      ({ query }, [id]) => ({ ...served(id as string), asked: isSet(query, 'last_task_runs') }),
    ],
  ];
}
