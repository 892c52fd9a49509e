/**
 * How a dataset comes into the catalog. One insert decides: the dataset's document has its state and, in its outbox, the
 * workflow and the audit entry. Who is killed after it leaves a whole registration, which the next one who reads the
 * dataset or registers it again puts in its places.
 */
import { normaliseName } from '../../dataset/name.ts';
import { LongshoreError } from '../../errors.ts';
import { change, insertOwn } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import { nextNumber } from '../../mongodb/counter.ts';
import { addTo, deliver } from '../../mongodb/outbox.ts';
import { auditItem } from '../../records/mongodb/audit.ts';
import { WORKFLOWS } from '../../records/mongodb/documents.ts';
import { newRecord } from '../../records/mongodb/new.ts';
import { workflowsOf } from '../../records/mongodb/settle.ts';
import { asJson } from '../../mongodb/values.ts';
import { wellFormed } from '../../sqlite/values.ts';
import type { Catalog, NewDataset, RegisterOutcome, Registration } from '../contract.ts';
import { type DatasetRecord, datasetsOf, loadDataset, missing, nameKey } from './documents.ts';

const WHOLE = { bundle: true, states: true, workflows: true };

export function registrationCatalog(mongo: Mongo): Pick<Catalog, 'register' | 'attachWorkflow'> {
  return {
    register: async (items, actor) => {
      const outcomes: RegisterOutcome[] = [];
      for (const item of items) outcomes.push(await registerOne(mongo, item, actor));
      return outcomes;
    },
    attachWorkflow: (dataset_id, workflow) =>
      change<DatasetRecord, boolean>(mongo, datasetsOf(mongo), dataset_id, async (dataset) => {
        if (dataset === null) throw missing(dataset_id);
        if (dataset.is_deleted) {
          throw new LongshoreError(
            'E_DATASET_DELETED',
            `dataset ${dataset_id} "${dataset.name}" is deleted`,
            {
              fields: { dataset_id },
            },
          );
        }
        await deliver(mongo, datasetsOf(mongo), dataset);
        const taken = await mongo.run(() =>
          workflowsOf(mongo).findOne({ dataset_id, name: workflow.name, deleting: { $ne: true } }),
        );
        if (taken !== null) return { answer: false };
        const item = { collection: WORKFLOWS, document: newRecord({ ...workflow, dataset_id }) };
        return { answer: true, set: { outbox: addTo(undefined, item) } };
      }).then(async (attached) => {
        if (attached) await loadDataset(mongo, dataset_id, {});
        return attached;
      }),
  };
}

/** An item that cannot be recorded is answered, not thrown: the others of its batch go on. */
async function registerOne(mongo: Mongo, item: Registration, actor: string): Promise<RegisterOutcome> {
  const name = normaliseName(item.dataset.name);
  try {
    return await register(mongo, name, item, actor);
  } catch (error) {
    return { outcome: 'errored', name, type: item.dataset.type, error };
  }
}

async function register(
  mongo: Mongo,
  name: string,
  item: Registration,
  actor: string,
): Promise<RegisterOutcome> {
  const { dataset } = item;
  if (/^-?$/.test(name)) {
    throw new LongshoreError(
      'E_NAME_UNSAFE',
      `the name ${JSON.stringify(dataset.name)} has no letter or digit; expected at least one of A-Z a-z 0-9 _`,
      {
        fields: { name: dataset.name },
        hint: 'Register it by hand with a prefix or suffix that has one, or rename the folder.',
      },
    );
  }
  for (;;) {
    const taken = await aliveId(mongo, name, dataset.type);
    if (taken !== null) return { outcome: 'conflicted', dataset: await loadDataset(mongo, taken, WHOLE) };
    const _id = await nextNumber(mongo, 'datasets');
    const workflow = item.workflow?.(_id);
    const workflow_id = workflow?.id ?? null;
    const { type, origin_path, create_method } = dataset;
    const entry = auditItem({
      actor,
      action: 'dataset.register',
      subject: `dataset:${_id}`,
      details: { name, type, origin_path, create_method, workflow_id },
    });
    const started =
      workflow === undefined
        ? []
        : [{ collection: WORKFLOWS, document: newRecord({ ...workflow, dataset_id: _id }) }];
    const record = { ...newDataset(_id, name, dataset), outbox: addTo(undefined, ...started, entry) };
    // Somebody else took the name in this moment: the next turn says who.
    if (!(await insertOwn(mongo, datasetsOf(mongo), record))) continue;
    return { outcome: 'created', dataset: await loadDataset(mongo, _id, WHOLE), workflow_id };
  }
}

async function aliveId(mongo: Mongo, name: string, type: string): Promise<number | null> {
  const name_key = nameKey({ _id: 0, type, name, is_deleted: false });
  const found = await mongo.run(() => datasetsOf(mongo).findOne({ name_key }, { projection: { _id: 1 } }));
  return found?._id ?? null;
}

function newDataset(_id: number, name: string, dataset: NewDataset): DatasetRecord {
  const at = new Date();
  return {
    _id,
    name,
    type: dataset.type,
    name_key: nameKey({ _id, type: dataset.type, name, is_deleted: false }),
    origin_path: wellFormed('origin path', dataset.origin_path),
    archive_path: null,
    staged_path: null,
    is_deleted: false,
    is_staged: false,
    du_size: null,
    size: null,
    num_files: null,
    num_directories: null,
    metadata: asJson(dataset.metadata ?? {}),
    description: dataset.description ?? null,
    project_id: dataset.project_id ?? null,
    create_method: dataset.create_method,
    created_at: at,
    updated_at: at,
    bundle: null,
    report: null,
    states: [{ state: 'REGISTERED', timestamp: at, metadata: asJson({}) }],
    last_staged_at: null,
  };
}
