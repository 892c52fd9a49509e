import type { App } from '../app.ts';
import { health } from '../shapes.ts';

/** That the process answers. What it needs is looked at by `longshore doctor`. */
export function addHealth(app: App): void {
  const schema = {
    summary: 'Whether the server is up; needs no token',
    operationId: 'health',
    tags: ['health'],
    response: { 200: health.describe('it is up') },
  };
  app.get('/health', { schema }, () => ({ health: 'OK' }) as const);
}
