import type { z } from 'zod';
import { complaint, failure, invalid, refusal } from '../shapes.ts';

/** The answers that every route behind the token may give, beside its own. */
export const answers = (ok: z.ZodType, description: string, ...more: (400 | 404 | 409 | 503)[]) => ({
  200: ok.describe(description),
  401: refusal.describe('no token, or one that is not valid'),
  422: invalid.describe('the request does not have the form that is expected'),
  ...Object.fromEntries(more.map((status) => [status, shapeOf(status).describe(MEANINGS[status])])),
});

const shapeOf = (status: number) => (status === 400 || status === 404 ? complaint : failure);

const MEANINGS = {
  400: 'the workflow that is asked for cannot be, or its arguments are not known',
  404: 'there is no such workflow',
  409: 'the Idempotency-Key was used for another workflow, or one works on the dataset (with gateway.refuse_second)',
  503: 'Redis or the records are away; nothing was changed, try again later',
} as const;

export const bearer = [{ bearer: [] }];
