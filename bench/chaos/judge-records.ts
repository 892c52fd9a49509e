import type { Ground } from './ground.ts';

const STATES = 'REGISTERED READY ARCHIVED FETCHED STAGED';

/** Nothing lost, nothing twice, nothing open; read from the tables themselves. */
export function judgeRecords(ground: Ground, landings: number, qc: boolean): string[] {
  const [workflows, expected] = qc ? [2, `${STATES} QC`] : [1, STATES];
  const rows = <T>(sql: string): T[] => ground.ask<T>(sql);
  const datasets = ground.count('select count(*) as n from datasets');
  return [
    ...(datasets === landings ? [] : [`${datasets} datasets for ${landings} folders`]),
    ...rows<{ origin_path: string; n: number }>(
      'select origin_path, count(*) as n from datasets group by origin_path having n > 1',
    ).map(({ origin_path, n }) => `${origin_path} was registered ${n} times`),
    ...rows<{ name: string; n: number }>(
      `select d.name, count(w.id) as n from datasets d left join workflows w on w.dataset_id = d.id
       group by d.id having n <> ${workflows}`,
    ).map(({ name, n }) => `${name} has ${n} workflows`),
    ...rows<{ name: string; states: string }>(
      `select d.name, (select group_concat(state, ' ') from (select state from dataset_states s
         where s.dataset_id = d.id order by s.rowid)) as states from datasets d`,
    )
      .filter(({ states }) => states !== expected)
      .map(({ name, states }) => `${name} went through ${states}; expected ${expected}`),
    ...judgeRuns(ground),
  ];
}

/** For workflows of any kind. */
export function judgeRuns(ground: Ground): string[] {
  const rows = <T>(sql: string): T[] => ground.ask<T>(sql);
  return [
    ...rows<{ id: string; status: string }>("select id, status from workflows where status <> 'SUCCESS'").map(
      ({ id, status }) => `workflow ${id} is ${status}`,
    ),
    ...rows<{ workflow_id: string; step: string; n: number }>(
      `select workflow_id, step, count(*) as n from runs where status = 'SUCCESS'
       group by workflow_id, position having n > 1`,
    ).map(({ workflow_id, step, n }) => `step ${step} of ${workflow_id} succeeded ${n} times`),
    ...rows<{ workflow_id: string; step: string; retries: number }>(
      'select workflow_id, step, retries from runs where retries > 0',
    ).map(({ workflow_id, step, retries }) => `step ${step} of ${workflow_id} used up ${retries} retries`),
    ...rows<{ task_id: string; number: number }>(
      'select task_id, number from attempts where date_end is null',
    ).map(({ task_id, number }) => `attempt ${number} of ${task_id} is still open`),
  ];
}
