import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import type { Config } from '../../config/index.ts';
import { openApi } from '../../workers/bioloop/endpoints.ts';
import { type RefusedEntry, spoolPath } from '../../workers/catalog/rest/spool.ts';
import { coerceError } from '../../workers/errors.ts';
import { duration } from '../cli/format.ts';
import { type Finding, finding, ok, problem } from './finding.ts';

/** The API has been away for so long that somebody should know. */
const LONG_WAIT_SECONDS = 600;

/** Only where the catalog lies behind the facility's API. */
export async function* apiFindings(config: Config): AsyncGenerator<Finding> {
  if (config.catalog.backend !== 'rest') return;
  yield await answerFinding(config);
  const look =
    config.records.backend === 'mongodb' ? await lookIntoMongodb(config) : lookIntoFile(spoolPath(config));
  if (look !== null) yield* spoolFindings(look);
}

async function answerFinding(config: Config): Promise<Finding> {
  const expected = 'an answer of the API to this token';
  const api = openApi(config, { retries: 0 });
  const begun = Date.now();
  try {
    const { metadata } = await api.listDatasets({ limit: 1 });
    const took = duration((Date.now() - begun) / 1000);
    return ok('api.answers', { seen: `${metadata.count} datasets, in ${took}`, expected });
  } catch (error) {
    const { code, message, hint } = coerceError(error);
    return problem('api.answers', { seen: `${code}: ${message}`, expected, remedy: hint });
  } finally {
    api.close();
  }
}

interface SpoolLook {
  readonly count: number;
  readonly oldest: string | null;
  /** Newest first. */
  readonly refused: readonly Pick<RefusedEntry, 'lane' | 'kind' | 'error'>[];
}

function* spoolFindings({ count, oldest, refused }: SpoolLook): Generator<Finding> {
  yield judgeWaiting(count, oldest === null ? 0 : (Date.now() - Date.parse(oldest)) / 1000);
  yield judgeRefused(refused);
}

/** Read by hand: opening it as the catalog does would make it. Null: there is none yet. */
function lookIntoFile(path: string): SpoolLook | null {
  if (!existsSync(path)) return null;
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const waiting = database
      .prepare('select count(*) as count, min(created_at) as oldest from entries where refused_at is null')
      .get() as { count: number; oldest: string | null };
    const refused = database
      .prepare('select lane, kind, error from entries where refused_at is not null order by id desc')
      .all() as unknown as SpoolLook['refused'];
    return { ...waiting, refused };
  } finally {
    database.close();
  }
}

/** Null: the server does not answer, which the area of the catalog tells. */
async function lookIntoMongodb(config: Config): Promise<SpoolLook | null> {
  const { connectMongo } = await import('../../workers/mongodb/connection.ts');
  const { mongodbSpool } = await import('../../workers/catalog/mongodb/spool.ts');
  const once = { ...config, mongodb: { ...config.mongodb, patience_seconds: 0 } };
  const mongo = await connectMongo(once).catch(() => null);
  if (mongo === null) return null;
  try {
    const spool = mongodbSpool(mongo);
    const [count, oldest, refused] = [await spool.waiting(), await spool.oldest(), await spool.allRefused()];
    return { count, oldest, refused: refused.toReversed() };
  } finally {
    await mongo.close();
  }
}

export const judgeWaiting = (count: number, seconds: number): Finding =>
  finding(seconds > LONG_WAIT_SECONDS ? 'warning' : 'ok', 'api.spool', {
    seen: count === 0 ? 'nothing waits' : `${count} changes wait, the first for ${duration(seconds)}`,
    expected: `nothing waits longer than ${duration(LONG_WAIT_SECONDS)}`,
    remedy:
      'Bring the API back, or correct its token; workers and watch deliver by themselves then. Their logs say why it does not take them.',
  });

export function judgeRefused(refused: SpoolLook['refused']): Finding {
  const [newest] = refused;
  return finding(newest === undefined ? 'ok' : 'warning', 'api.refused', {
    seen:
      newest === undefined
        ? 'nothing was refused'
        : `${refused.length} changes were refused for good, the last one ${newest.kind} of ${newest.lane}: ${newest.error}`,
    expected: 'nothing was refused',
    remedy:
      'Make the change in the API by hand where it still matters, then delete its row of `entries` in api-spool.db, or its document of longshore_api_spool (docs/rest-catalog.md).',
  });
}
