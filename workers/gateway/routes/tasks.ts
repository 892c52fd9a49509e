import type { Records } from '../../records/contract.ts';
import type { App } from '../app.ts';
import { stepNames, tasksQuery } from '../shapes.ts';
import { answers, bearer } from './answers.ts';

export function addTasks(app: App, records: Records): void {
  const schema = {
    summary: 'Names of all steps that have ever begun',
    operationId: 'uniqueTasks',
    tags: ['tasks'],
    security: bearer,
    querystring: tasksQuery,
    response: answers(stepNames, 'each name once', 503),
  };
  app.get('/tasks/unique', { schema }, () => records.stepNames());
}
