/** One call of the double's endpoints, and what tests turn while it runs. */
export interface Call {
  readonly method: string;
  /** Without the base and the query: `datasets/7/files`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** As JSON where it is. */
  readonly body: unknown;
  readonly text: string;
}

/** What tests turn while the double runs. */
export interface Behaviour {
  /**
   * Between the answer of the files endpoint and the rows: ms, or what comes before. Null: they are lost, as when the
   * database fails then.
   */
  filesDelay: number | Promise<void> | null;
  /** The workflow server behind the API; false: it is away. */
  workflowServer: boolean;
  /** Rendered workflows that the workflow server has. */
  readonly served: Map<string, Record<string, unknown>>;
}

export type Route = [string, RegExp, (call: Call, ids: readonly string[]) => unknown];

export const flag = (query: URLSearchParams, name: string): boolean | null => {
  const value = query.get(name);
  return value === null ? null : value.toLowerCase() === 'true' || value === '1';
};
export const isSet = (query: URLSearchParams, name: string): boolean => flag(query, name) === true;
