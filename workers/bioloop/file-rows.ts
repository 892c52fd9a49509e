/** The file rows of a dataset, read as they arrive: the API sends all of them in one answer. */
import type { ApiClient } from './client.ts';
import { elementsOf } from './json-elements.ts';
import { fileAnswer } from './schemas.ts';
import { unreachable, wrongShape } from './failure.ts';

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
      const row = fileAnswer.safeParse(JSON.parse(text));
      if (!row.success)
        throw wrongShape(
          asked,
          row.error.issues.map(({ path, message }) => ({ path: ['files', ...path], message })),
        );
      page.push({ path: row.data.path, md5: row.data.md5 });
      if (page.length < size) continue;
      yield page;
      page = [];
    }
    if (page.length > 0) yield page;
  },
});

export type FileRowEndpoints = ReturnType<typeof fileRowEndpoints>;
