/** The file rows of a dataset, read as they arrive: the API sends all of them in one answer. */
import type { ApiClient } from './client.ts';
import { elementsOf } from './json-elements.ts';
import { type Asked, unreachable, wrongShape } from './failure.ts';

export interface ApiFileRow {
  path: string;
  md5: string | null;
}

/** A million rows take the server longer to find than any other answer. */
const READ_TIMEOUT_FACTOR = 10;

export const fileRowEndpoints = (client: ApiClient) => ({
  /**
   * Pages of `size` rows, in no certain order; directories are left out by the server.
   *
   * @throws E_API_ANSWER, E_API_UNAVAILABLE also in the middle
   */
  readFileRows: async function* (dataset_id: number, size: number): AsyncGenerator<ApiFileRow[]> {
    const { asked, chunks } = await client.stream({
      endpoint: 'GET datasets/:id',
      path: `datasets/${dataset_id}`,
      query: { files: true },
      read_timeout_factor: READ_TIMEOUT_FACTOR,
    });
    let page: ApiFileRow[] = [];
    for await (const text of elementsOf(chunks, 'files', (message, early) =>
      early
        ? unreachable(asked, message, 'ECONNRESET', false)
        : wrongShape(asked, [{ path: ['files'], message }]),
    )) {
      page.push(rowOf(JSON.parse(text) as Record<string, unknown>) ?? refuse(asked, text));
      if (page.length < size) continue;
      yield page;
      page = [];
    }
    if (page.length > 0) yield page;
  },
});

/** By hand: a schema takes longer than all the rest, a million times. */
function rowOf(value: Partial<Record<string, unknown>>): ApiFileRow | null {
  const { path, md5 = null } = value;
  return typeof path === 'string' && (md5 === null || typeof md5 === 'string') ? { path, md5 } : null;
}

function refuse(asked: Asked, text: string): never {
  throw wrongShape(asked, [
    { path: ['files'], message: `expected a path and an md5, got ${text.slice(0, 200)}` },
  ]);
}

export type FileRowEndpoints = ReturnType<typeof fileRowEndpoints>;
