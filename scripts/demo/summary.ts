import { existsSync, readlinkSync } from 'node:fs';
import type { Config } from '../../config/index.ts';
import { roughSize } from '../../workers/dataset/byte-size.ts';
import { downloadLinksOf, stagedBundleOf } from '../../workers/dataset/paths.ts';
import type { Store } from '../../workers/store.ts';
import { bytes, count, duration, oneLine } from '../cli/format.ts';
import { elapsedOf } from '../cli/progress.ts';
import { type Out, paint, printTable, takesColour } from '../cli/table.ts';
import { asTyped } from '../cli/typed.ts';
import { failureOfLanding, type Landing } from './landing.ts';
import { proveBundle, proveTree, treeDifferences } from './verify.ts';

/** One line of the summary, and the whole of `--json`. */
export interface Outcome {
  readonly folder: string;
  readonly dataset_id: number | null;
  readonly name: string | null;
  readonly type: string;
  readonly state: string;
  readonly states: readonly string[];
  readonly size: number | null;
  readonly files: number | null;
  readonly seconds: number | null;
  readonly identical: boolean;
  readonly problems: readonly string[];
  readonly hint: string;
  readonly places: {
    readonly origin: string;
    readonly staged: string | null;
    readonly bundle: string | null;
    readonly download: string | null;
    readonly download_bundle: string | null;
    readonly report: string | null;
  };
}

/** Looks at everything that a landing promises, by programs that are not ours. */
export async function judge(landing: Landing, store: Store, config: Config): Promise<Outcome> {
  const { expected, dataset, workflows } = landing;
  const failure = failureOfLanding(landing);
  const links = dataset === null ? null : downloadLinksOf(config, dataset);
  const report = dataset === null ? null : await store.catalog.report(dataset.id);
  const problems = failure === null ? await differences(landing, config) : [failure.text];
  return {
    folder: expected.folder,
    dataset_id: dataset?.id ?? null,
    name: dataset?.name ?? null,
    type: expected.type,
    state: dataset?.states?.[0]?.state ?? 'not registered',
    states: dataset?.states?.map(({ state }) => state).toReversed() ?? [],
    size: roughSize(dataset?.size ?? null),
    files: dataset?.num_files ?? null,
    seconds:
      workflows.length === 0 ? null : workflows.reduce((sum, { workflow }) => sum + elapsedOf(workflow), 0),
    identical: problems.length === 0,
    problems,
    hint: failure?.hint ?? '',
    places: {
      origin: expected.origin,
      staged: dataset?.staged_path ?? null,
      bundle: dataset?.archive_path ?? null,
      download: links !== null && existsSync(links.tree) ? links.tree : null,
      download_bundle: links !== null && existsSync(links.bundle) ? links.bundle : null,
      report:
        report === null ? null : links !== null && existsSync(links.report) ? links.report : report.path,
    },
  };
}

async function differences({ expected, dataset }: Landing, config: Config): Promise<string[]> {
  if (dataset === null || dataset.staged_path === null || dataset.archive_path === null) {
    return ['the catalog has no staged copy or no archive path for it'];
  }
  const links = downloadLinksOf(config, dataset);
  const linked = [
    [links.tree, dataset.staged_path],
    [links.bundle, stagedBundleOf(config, dataset)],
  ].flatMap(([link = '', target]) => {
    const found = existsSync(link) ? readlinkSync(link) : null;
    return found === target
      ? []
      : [`the download link ${link} leads to ${found ?? 'nothing'}, not to ${target}`];
  });
  const origin = await proveTree(expected.origin);
  return [
    ...linked,
    ...treeDifferences(origin, await proveTree(dataset.staged_path)),
    ...(await proveBundle(dataset.archive_path, expected.origin, origin.members)),
  ];
}

export function printSummary(outcomes: readonly Outcome[], out: Out): void {
  out.write('\n');
  printTable(out, outcomes, [
    { title: 'DATASET', value: (one) => one.name ?? one.folder, shrink: true },
    { title: 'TYPE', value: (one) => one.type },
    { title: 'STATE', value: (one) => one.state },
    { title: 'SIZE', value: (one) => bytes(one.size), align: 'right' },
    { title: 'FILES', value: (one) => count(one.files), align: 'right' },
    { title: 'TOOK', value: (one) => duration(one.seconds), align: 'right' },
    {
      title: 'BYTES',
      value: (one) => (one.identical ? 'identical' : 'NOT PROVEN'),
      style: (one) => (one.identical ? 'green' : 'red'),
    },
  ]);
  for (const one of outcomes) {
    out.write(
      `\n${paint(oneLine(one.name ?? one.folder), 'bold', takesColour(out))}  from ${oneLine(one.places.origin)}\n`,
    );
    for (const problem of one.problems) out.write(`  PROBLEM      ${oneLine(problem)}\n`);
    if (one.hint !== '') out.write(`  what to do   ${asTyped(one.hint)}\n`);
    const places: [string, string | null][] = [
      ['staged copy', one.places.staged],
      ['bundle', one.places.bundle],
      ['QC report', one.places.report],
      ['download', one.places.download],
      ['', one.places.download_bundle],
    ];
    for (const [what, path] of places) if (path !== null) out.write(`  ${what.padEnd(12)} ${path}\n`);
  }
}
