import type { Random } from '../../bench/chaos/random.ts';
import type { Catalog, DatasetPatch, DatasetQuery } from '../../workers/catalog/contract.ts';
import type { Bundle, DatasetStateName, FileRow, Proof, StoredCopy } from '../../workers/dataset/types.ts';
import { makeWorkflow } from '../records/workflow.ts';
import type { Call } from '../support/walk.ts';
import { makeRegistration } from './registration.ts';

/** A back end on the walk. */
export interface Shelf {
  readonly catalog: Catalog;
  /** Of datasets, in the order in which they were registered: ids are its own. */
  readonly ids: number[];
}

/** Numbers that a back end has given out. */
export const NUMBERED = ['id', 'dataset_id'];

interface Ground {
  readonly random: Random;
  /** Registrations that were asked for; some of them conflict. */
  datasets: number;
  moments: number;
}

type Move = (ground: Ground) => Call<Shelf>;

const NAMES = ['run_1', 'run_2', 'Läufe "3"'];
const TYPES = ['RAW_DATA', 'DATA_PRODUCT'];
const PATHS = ['a', 'b', 'b/c', 'B', 'ü "x"', 'z'];
const ARCHIVES = ['disk', 'tape'];
const STATES: readonly DatasetStateName[] = ['READY', 'ARCHIVED', 'STAGED', 'QC'];

/** What tasks and people do to the catalog of a few datasets; after each call a look at what it was about. */
export function* callsOnCatalog(random: Random, count: number): Generator<Call<Shelf>> {
  const ground: Ground = { random, datasets: 0, moments: 0 };
  yield register(ground);
  for (let made = 0; made < count; made++) yield (random.pick(OFTEN) ?? register)(ground);
  yield { said: 'what all of it has left', make: overview };
}

async function overview({ catalog, ids }: Shelf): Promise<unknown> {
  const known = await Promise.all(ids.map((id) => all(catalog, id)));
  return {
    known,
    lists: [
      await catalog.list({}),
      await catalog.list({ deleted: true }),
      await catalog.list({ archived: true }),
      await catalog.list({ staged: false, type: 'RAW_DATA' }),
      await catalog.list({ name: 'RUN', limit: 1, offset: 1 }),
    ],
    copies: [await leastProven(catalog), await catalog.holdings(), await catalog.fixity({})],
    failed: await catalog.fixity({ failed: true, limit: 2 }),
    without: await catalog.withoutCopies(100),
    proofs: await catalog.proofs({ limit: 1_000 }),
  };
}

/** Where a back end tells more than it has to, that is left out. */
const leastProven = async (catalog: Catalog): Promise<unknown> =>
  (await catalog.leastProven(3)).map(({ dataset_id, archive, key, looked_at, verified_at }) => ({
    dataset_id,
    archive,
    key,
    looked_at,
    verified_at,
  }));

const all = async (catalog: Catalog, id: number): Promise<unknown> => ({
  ...(await catalog.get(id, { bundle: true, states: true, workflows: true })),
  files: await catalog.files(id, { limit: 100 }),
  copies: await catalog.copies(id),
  report: await catalog.report(id),
});

const register: Move = (ground) => {
  const { random } = ground;
  const name = random.pick(NAMES) ?? '';
  const type = random.pick(TYPES) ?? '';
  const whole = makeRegistration({
    name,
    type,
    origin_path: `/origin/${type}/${name}`,
    ...(random.next() < 0.3 ? { description: 'one\ntwo' } : {}),
    ...(random.next() < 0.3 ? { metadata: { a: { b: 1 }, list: [1] } } : {}),
  });
  const item = random.next() < 0.3 ? { dataset: whole.dataset } : whole;
  ground.datasets += 1;
  return {
    said: `register ${type} ${name}`,
    make: async ({ catalog, ids }) => {
      const [answer] = await catalog.register([item], 'ann');
      if (answer?.outcome === 'created') ids.push(answer.dataset.id);
      if (answer === undefined || answer.outcome === 'errored') return answer;
      return { outcome: answer.outcome, dataset: await catalog.get(answer.dataset.id) };
    },
  };
};

/** Of a dataset, and now and then of one that never was. */
function ofDataset(
  { random, datasets }: Ground,
  said: string,
  call: (catalog: Catalog, id: number) => Promise<unknown>,
): Call<Shelf> {
  const back = 1 + random.below(Math.min(datasets, 4));
  const never = random.next() < 0.02;
  return {
    said: `${said}: ${never ? 'of none' : `the dataset ${back} from the end`}`,
    make: async ({ catalog, ids }) => {
      const id = never ? 987_654 : (ids.at(-back) ?? 987_654);
      const answer = await call(catalog, id);
      return { answer, ...(ids.includes(id) ? { all: await all(catalog, id) } : {}) };
    },
  };
}

const bundleOf = ({ random }: Ground): Bundle => ({
  name: 'run.tar',
  size: random.below(9_999),
  md5: 'ab'.repeat(16),
  digests: random.pick<Record<string, string>>([{ md5: 'ab'.repeat(16) }, { blake3: 'cd'.repeat(32) }]) ?? {},
  verified_at: random.pick([null, '2026-03-01T00:00:00.000Z']) ?? null,
});

const patch: Move = (ground) => {
  const { random } = ground;
  const changes: DatasetPatch[] = [
    { name: random.pick(NAMES) ?? '' },
    { is_deleted: random.next() < 0.5 },
    { archive_path: random.pick(['/archive/x.tar', null]) ?? null },
    { is_staged: random.next() < 0.5, staged_path: random.pick(['/stage/x', null]) ?? null },
    { size: random.below(99), du_size: random.below(99), num_files: 3, num_directories: 1 },
    { metadata: random.pick([{ a: { c: 2 } }, { a: null }, { list: [2, 3] }, { stage_alias: 'x' }]) ?? {} },
    { bundle: bundleOf(ground) },
    { bundle: null },
    { description: random.pick(['new', null]) ?? null },
    {},
  ];
  const chosen = { ...random.pick(changes), ...random.pick(changes) };
  return ofDataset(ground, `patch ${JSON.stringify(chosen)}`, (catalog, id) => catalog.patch(id, chosen));
};

const addState: Move = (ground) => {
  const state = ground.random.pick(STATES) ?? 'READY';
  const metadata = ground.random.pick([undefined, { n: 1 }]);
  return ofDataset(ground, `state ${state}`, async (catalog, id) => {
    await catalog.addState(id, state, metadata);
    return catalog.states(id);
  });
};

const putFiles: Move = (ground) => {
  const { random } = ground;
  const rows = PATHS.filter(() => random.next() < 0.5).map(
    (path): FileRow => ({
      path,
      type: random.pick(['file', 'symbolic link'] as const) ?? 'file',
      size: random.below(2 ** 40),
      md5: random.pick([null, 'ef'.repeat(16)]) ?? null,
      digests: random.pick<Record<string, string>>([{}, { blake3: 'ab'.repeat(32) }]) ?? {},
      ...(random.next() < 0.5 ? { fingerprint: '1:2:3' } : {}),
    }),
  );
  const generation = random.pick(['one', 'two']) ?? '';
  const paths = PATHS.filter(() => random.next() < 0.3);
  return ofDataset(
    ground,
    `files ${rows.map(({ path }) => path).join()} of ${generation}`,
    async (catalog, id) => {
      await catalog.putFiles(id, rows, generation);
      const at = (await catalog.filesAt(id, [...paths, 'absent'])).toSorted((a, b) =>
        a.path < b.path ? -1 : 1,
      );
      return {
        at,
        count: await catalog.countFiles(id),
        page: await catalog.files(id, { after: 'b', limit: 2 }),
      };
    },
  );
};

const sweepFiles: Move = (ground) => {
  const generation = ground.random.pick(['one', 'two', 'three']) ?? '';
  return ofDataset(ground, `sweep all but ${generation}`, (catalog, id) =>
    catalog.sweepFiles(id, generation),
  );
};

const moment = (ground: Ground): string =>
  new Date(
    Date.UTC(2026, 0, 1) + (ground.moments++ - (ground.random.next() < 0.2 ? 3.5 : 0)) * 60_000,
  ).toISOString();

const putCopy: Move = (ground) => {
  const { random } = ground;
  const copy: StoredCopy = {
    archive: random.pick(ARCHIVES) ?? '',
    key: random.pick(['/archive/x.tar', '/archive/y.tar']) ?? '',
    size: 1_000 + random.below(2),
    digests: { blake3: random.pick(['ab', 'cd'])?.repeat(32) ?? '' },
    stored_at: moment(ground),
  };
  return ofDataset(ground, `copy ${JSON.stringify(copy)}`, (catalog, id) => catalog.putCopy(id, copy));
};

const removeCopy: Move = (ground) => {
  const archive = ground.random.pick(ARCHIVES) ?? '';
  return ofDataset(ground, `no copy in ${archive}`, (catalog, id) => catalog.removeCopy(id, archive));
};

const addProof: Move = (ground) => {
  const { random } = ground;
  const proof: Omit<Proof, 'dataset_id'> = {
    archive: random.pick(ARCHIVES) ?? '',
    key: random.pick(['/archive/x.tar', '/archive/x.tar', '/archive/y.tar']) ?? '',
    at: moment(ground),
    level: random.pick(['size', 'digest', 'stream'] as const) ?? 'size',
    result: random.pick(['ok', 'ok', 'mismatch', 'missing', 'unavailable'] as const) ?? 'ok',
    bytes: 1_000,
    seconds: 0.5,
    actor: 'scrub',
    details: {},
  };
  return ofDataset(ground, `proof ${JSON.stringify(proof)}`, async (catalog, id) => {
    await catalog.addProof({ ...proof, dataset_id: id });
    return {
      least: await leastProven(catalog),
      fixity: await catalog.fixity({ dataset_id: id }),
      proofs: await catalog.proofs({ dataset_id: id, limit: 3 }),
    };
  });
};

const putReport: Move = (ground) => {
  const report_id = `r${ground.random.below(2)}`;
  return ofDataset(ground, `report ${report_id}`, async (catalog, id) => {
    await catalog.putReport(id, { report_id, path: `/qc/${report_id}` });
    return catalog.report(id);
  });
};

const attach: Move = (ground) => {
  const workflow = makeWorkflow({ name: ground.random.pick(['integrated', 'qc']) ?? '' });
  return ofDataset(ground, `attach ${workflow.name}`, (catalog, id) =>
    catalog.attachWorkflow(id, { ...workflow, dataset_id: id, args: [id] }),
  );
};

const list: Move = ({ random }) => {
  const queries: DatasetQuery[] = [
    { type: 'RAW_DATA' },
    { name: 'Run_1' },
    { name: 'RUN_1', match_name_exact: true },
    { name: 'läuf' },
    { origin_path: '/origin/RAW_DATA/run_1' },
    { deleted: true },
    { archived: random.next() < 0.5 },
    { staged: random.next() < 0.5 },
    { limit: 2, offset: 1 },
  ];
  const query = { ...random.pick(queries), ...random.pick(queries) };
  return { said: `list ${JSON.stringify(query)}`, make: ({ catalog }) => catalog.list(query) };
};

/** Each as often as it comes. */
const OFTEN: readonly Move[] = (
  [
    [register, 3],
    [patch, 8],
    [addState, 2],
    [putFiles, 3],
    [sweepFiles, 1],
    [putCopy, 4],
    [removeCopy, 1],
    [addProof, 6],
    [putReport, 1],
    [attach, 1],
    [list, 3],
  ] as const
).flatMap(([move, times]) => Array.from({ length: times }, () => move));
