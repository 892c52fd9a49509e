/** What becomes of an error: a status and a body, and a line in the log where somebody has to look. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { coerceError, type ErrorCode, isLongshoreError, type LongshoreError } from '../errors.ts';
import { brokenBody, InvalidRequest, missingBody } from './validation.ts';

/** A caller may try again: somebody else is away for now. */
const AWAY = 503;

const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  E_WORKFLOW_NOT_FOUND: 404,
  E_WORKFLOW_INVALID: 400,
  E_VALUE: 400,
  E_WORKFLOW_STATE: 409,
  E_REDIS_UNAVAILABLE: AWAY,
  E_CATALOG_UNAVAILABLE: AWAY,
  E_MONGODB_UNAVAILABLE: AWAY,
  E_NO_SPACE: AWAY,
  E_IO: AWAY,
};

export function answerError(
  error: FastifyError | Error,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const invalid = asInvalid(error);
  if (invalid !== null) return reply.code(422).send({ detail: invalid.detail });
  const { statusCode } = error as FastifyError;
  if (!isLongshoreError(error) && statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return reply.code(statusCode).send({ message: error.message });
  return answerFailure(coerceError(error), request, reply);
}

function answerFailure(
  error: LongshoreError,
  { log, method, url }: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const { code, message, hint } = error;
  const status = STATUS_OF[code] ?? 500;
  const facts = { code, method, url, reason: message };
  if (status === AWAY) {
    log.warn(facts, 'a request could not be carried out');
    reply.header('retry-after', '5');
  } else if (status === 500) log.error({ ...facts, err: error }, 'a request failed');
  else log.info(facts, 'a request was refused');
  // What has no code of its own is ours alone to read: its message may quote anything.
  if (code === 'E_TASK_CRASHED')
    return reply.code(500).send({
      message: 'internal error',
      hint: 'The log of the gateway has it, under the x-request-id of this answer.',
    });
  // These two are the reference's, and have no more than this.
  if (status === 400 || status === 404) return reply.code(status).send({ message });
  return reply.code(status).send({ message, code, hint });
}

/** Bodies that are no JSON, or none at all, are refused as the reference refuses them. */
function asInvalid(error: Error): InvalidRequest | null {
  if (error instanceof InvalidRequest) return error;
  switch ((error as FastifyError).code) {
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return brokenBody();
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return missingBody();
    default:
      return null;
  }
}
