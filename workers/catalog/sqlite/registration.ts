/** How a dataset comes into the catalog: with its state, its workflow and an audit entry, or not at all. */
import { normaliseName } from '../../dataset/name.ts';
import { LongshoreError } from '../../errors.ts';
import { insertAudit } from '../../records/sqlite/audit.ts';
import { insertWorkflow } from '../../records/sqlite/workflows.ts';
import type { Database, Statements } from '../../sqlite/database.ts';
import { now, toJson, wellFormed } from '../../sqlite/values.ts';
import type { Catalog, RegisterOutcome, Registration } from '../contract.ts';
import { aliveRow, datasetRow, loadDataset } from './rows.ts';
import { insertState } from './states.ts';

export function registrationCatalog(database: Database): Pick<Catalog, 'register' | 'attachWorkflow'> {
  return {
    register: async (items, actor) => {
      const outcomes: RegisterOutcome[] = [];
      for (const item of items) outcomes.push(await registerOne(database, item, actor));
      return outcomes;
    },
    attachWorkflow: (dataset_id, workflow) =>
      database.write((sql) => {
        const dataset = datasetRow(sql, dataset_id);
        if (dataset.is_deleted === 1) {
          throw new LongshoreError(
            'E_DATASET_DELETED',
            `dataset ${dataset_id} "${dataset.name}" is deleted`,
            {
              fields: { dataset_id },
            },
          );
        }
        const taken = sql.get(
          'select 1 from workflows where dataset_id = ? and name = ? limit 1',
          dataset_id,
          workflow.name,
        );
        if (taken !== undefined) return false;
        insertWorkflow(sql, { ...workflow, dataset_id });
        return true;
      }),
  };
}

/** An item that cannot be recorded is answered, not thrown: the others of its batch go on. */
async function registerOne(database: Database, item: Registration, actor: string): Promise<RegisterOutcome> {
  const name = normaliseName(item.dataset.name);
  try {
    return await database.write((sql) => register(sql, name, item, actor));
  } catch (error) {
    return { outcome: 'errored', name, type: item.dataset.type, error };
  }
}

function register(sql: Statements, name: string, item: Registration, actor: string): RegisterOutcome {
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
  const taken = aliveRow(sql, name, dataset.type);
  if (taken !== undefined) {
    return {
      outcome: 'conflicted',
      dataset: loadDataset(sql, taken.id, { bundle: true, states: true, workflows: true }),
    };
  }
  const id = insertDataset(sql, name, dataset);
  insertState(sql, id, 'REGISTERED', {});
  const workflow = item.workflow?.(id);
  if (workflow !== undefined) insertWorkflow(sql, { ...workflow, dataset_id: id });
  const workflow_id = workflow?.id ?? null;
  const { type, origin_path, create_method } = dataset;
  insertAudit(sql, {
    actor,
    action: 'dataset.register',
    subject: `dataset:${id}`,
    details: { name, type, origin_path, create_method, workflow_id },
  });
  return {
    outcome: 'created',
    dataset: loadDataset(sql, id, { bundle: true, states: true, workflows: true }),
    workflow_id,
  };
}

function insertDataset(sql: Statements, name: string, dataset: Registration['dataset']): number {
  const at = now();
  return sql.run(
    `insert into datasets (name, type, origin_path, metadata, description, project_id, create_method,
       created_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    name,
    dataset.type,
    wellFormed('origin path', dataset.origin_path),
    toJson(dataset.metadata ?? {}),
    dataset.description ?? null,
    dataset.project_id ?? null,
    dataset.create_method,
    at,
    at,
  ).id;
}
