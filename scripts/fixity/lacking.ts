/** Datasets that lie in fewer archives than the policy asks for, as after an archive was added to it. */
import type { Config } from '../../config/index.ts';
import { archiveNamesOf } from '../../workers/archive/index.ts';
import type { Holding } from '../../workers/catalog/contract.ts';

export interface Lacking {
  readonly dataset_id: number;
  readonly name: string;
  readonly type: string;
  readonly has: readonly string[];
  readonly lacks: readonly string[];
}

/** @param copies of all datasets. One from before copies were recorded has none, and is not judged: the scrub adopts it. */
export function lackingCopies(config: Config, copies: readonly Holding[]): Lacking[] {
  const byDataset = Map.groupBy(copies, ({ dataset_id }) => dataset_id);
  return [...byDataset.values()].flatMap((own) => {
    const [first] = own;
    if (first === undefined) return [];
    const { dataset_id, name, type } = first;
    const has = own.map(({ archive }) => archive);
    const lacks = archiveNamesOf(config, type).filter((archive) => !has.includes(archive));
    return lacks.length === 0 ? [] : [{ dataset_id, name, type, has, lacks }];
  });
}
