import type { Config } from '../../config/index.ts';
import type { Catalog, NewDataset } from '../catalog/contract.ts';
import { normaliseName } from '../dataset/name.ts';
import type { Dataset } from '../dataset/types.ts';
import { LongshoreError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Store } from '../store.ts';
import { scanMemory } from './memory.ts';
import { createRefusals } from './refusals.ts';
import { type Foreseen, lacksWorkflow, type RegistrationOutcome } from './registration.ts';
import type { ScanMemory, ScanResult } from './scanner.ts';
import { type Source, scannerOf, sourcesOf } from './watch.ts';

export interface ForeseenScan extends Source {
  readonly result: ScanResult;
  /** What the scan would register, under the names that the catalog would have. */
  readonly would: readonly NewDataset[];
  /** Registered before without their workflow, which it would start. */
  readonly would_complete: readonly Known[];
}

interface Known extends Pick<Dataset, 'name' | 'origin_path'> {
  readonly dataset_id: number;
}

/**
 * What one scan of every source would register or start, from reads alone: not even that it looked is remembered.
 *
 * @param store null where nothing has been recorded yet
 */
export async function foreseeScan(
  { config, store, log }: { config: Config; store: Store | null; log: Logger },
  signal: AbortSignal,
): Promise<ForeseenScan[]> {
  const catalog = store?.catalog ?? EMPTY;
  const scans: ForeseenScan[] = [];
  for (const source of sourcesOf(config)) {
    const taken = scans.flatMap(({ would }) => would);
    const would: NewDataset[] = [];
    const would_complete: Known[] = [];
    const registrar = createForeteller(catalog, taken, { would, would_complete });
    const memory = readOnly(store === null ? null : scanMemory(store.records, source.path));
    const refusals = createRefusals(forgetful, source.path);
    const { scanner } = scannerOf(source, { config, log, catalog, registrar, refusals, memory });
    scans.push({ ...source, result: await scanner.scan(signal), would, would_complete });
  }
  return scans;
}

const EMPTY: Looked = {
  list: async () => ({ count: 0, datasets: [] }),
  get: (id) => Promise.reject(new LongshoreError('E_DATASET_NOT_FOUND', `there is no dataset ${id}`)),
};

type Looked = Pick<Catalog, 'list' | 'get'>;

/** What is refused is told anew, and nothing of it is kept. */
const forgetful = { note: async () => null, setNote: async () => undefined };

/** As the scanner left it, and left so. */
function readOnly(memory: ScanMemory | null): ScanMemory {
  return {
    known: async () => memory?.known() ?? [],
    note: async () => memory?.note() ?? null,
    apply: async () => undefined,
    setNote: async () => undefined,
  };
}

/** Gives a registrar's answers; what would be registered, or get its workflow, it adds to the lists. */
function createForeteller(
  catalog: Looked,
  taken: readonly NewDataset[],
  { would, would_complete }: { would: NewDataset[]; would_complete: Known[] },
): { register: (items: readonly NewDataset[]) => Promise<(RegistrationOutcome | Foreseen)[]> } {
  const foretell = async (item: NewDataset): Promise<RegistrationOutcome | Foreseen> => {
    const name = normaliseName(item.name);
    const { datasets } = await catalog.list({ type: item.type, name, match_name_exact: true });
    // The filter does not mind the case, the name does.
    const dataset = datasets.find((one) => one.name === name);
    if (dataset !== undefined) {
      const { id, origin_path } = dataset;
      if (origin_path !== item.origin_path) return { outcome: 'taken', dataset };
      if (!(await lacksWorkflow(catalog, id))) return { outcome: 'present', dataset };
      would_complete.push({ dataset_id: id, name, origin_path });
      return { outcome: 'foreseen' };
    }
    // Of two folders whose names become the same one the first gets it.
    const twin = [...taken, ...would].some((one) => one.type === item.type && one.name === name);
    if (!twin) would.push({ ...item, name });
    return { outcome: 'foreseen' };
  };
  return {
    async register(items) {
      const answers = [];
      for (const item of items) answers.push(await foretell(item));
      return answers;
    },
  };
}
