import type { Command } from 'commander';
import type { CopyFixity, Holding } from '../../../workers/catalog/contract.ts';
import type { Dataset } from '../../../workers/dataset/types.ts';
import { type Lacking, lackingCopies } from '../../fixity/lacking.ts';
import { isFinding, openFinding } from '../../../workers/dataset/types.ts';
import { findingText, readText, resultStyle } from '../../fixity/view.ts';
import { findDataset } from '../find.ts';
import { ago, bytes, count, moment, oneLine } from '../format.ts';
import { addLimit, type Limited, limitOf, tailOf } from '../limit.ts';
import { helpTail, jsonOption } from '../program.ts';
import { printJson, type Session, withStore } from '../session.ts';
import { type Column, paint, printTable, takesColour } from '../table.ts';

interface Options extends Limited {
  failed?: boolean;
  lacking?: boolean;
  json?: boolean;
}

export interface Totals {
  copies: number;
  bytes: number;
  never_proven: number;
  /** Of the last proof that held, over all that have one. */
  oldest_proof: string | null;
  proven_within: number;
  prove_every_days: number;
  failed: number;
  /** Datasets that lie in fewer archives than the policy asks for. */
  lacking: number;
  /** In archives that `archive.backends` does not name: nothing reads them. */
  unnamed: number;
}

export function addFixity(program: Command): void {
  addLimit(program.command('fixity'), 50)
    .argument('[dataset]', 'id or name: its copies and the ledger of all that was found about them')
    .description('when each archived copy was proven last, how and by whom; those never proven first')
    .option('--failed', 'only copies that are damaged or missing, as far as anybody has found out')
    .option('--lacking', 'datasets that lie in fewer archives than the policy asks for')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail(['longshore fixity', 'longshore fixity --failed --json', 'longshore fixity run_17']),
    )
    .action((text: string | undefined, options: Options) =>
      withStore(async (session) => {
        if (text === undefined)
          return options.lacking ? lacking(session, options) : overview(session, options);
        return ledger(session, await findDataset(session.store, text), options);
      }),
    );
}

async function overview({ config, store }: Session, options: Options): Promise<void> {
  const { failed = false, json } = options;
  const { catalog } = store;
  const held = await catalog.holdings();
  const damaged = await catalog.fixity({ failed: true });
  const totals = {
    ...totalsOf(held, config.fixity.prove_every_days),
    failed: damaged.length,
    lacking: lackingCopies(config, held).length,
    unnamed: held.filter(({ archive }) => !Object.hasOwn(config.archive.backends, archive)).length,
  };
  const most = limitOf(options);
  const shown = failed ? damaged.slice(0, most) : await catalog.fixity({ limit: most });
  const total = failed ? damaged.length : held.length;
  if (json) return printJson({ totals, count: total, copies: shown.map(jsonOf) });
  const out = process.stdout;
  printTable(out, shown, [
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    ...copyColumns,
  ]);
  if (shown.length < total) out.write(`${tailOf(shown.length, total, 'copy', 'copies')}\n`);
  if (failed && total === 0) out.write('no copy is known to be damaged or missing\n');
  else out.write(`${totalsText(totals)}\n`);
  if (totals.failed > 0) {
    const text = `${count(totals.failed)} damaged or missing${failed ? '' : ': npx longshore fixity --failed'}`;
    out.write(`${paint(text, 'red', takesColour(out))}\n`);
  }
  if (totals.lacking > 0)
    out.write(`${count(totals.lacking)} in too few archives: npx longshore fixity --lacking\n`);
  if (totals.unnamed > 0)
    out.write(
      `${count(totals.unnamed)} in archives that archive.backends does not name: name them again, or npx longshore write-off <archive>\n`,
    );
}

async function lacking({ config, store }: Session, options: Options): Promise<void> {
  const rows = lackingCopies(config, await store.catalog.holdings());
  const shown = rows.slice(0, limitOf(options));
  if (options.json) return printJson({ count: rows.length, datasets: shown });
  const out = process.stdout;
  const columns: Column<Lacking>[] = [
    { title: 'ID', value: (row) => row.dataset_id, align: 'right' },
    { title: 'DATASET', value: (row) => row.name, shrink: true },
    { title: 'TYPE', value: (row) => row.type },
    { title: 'HAS', value: (row) => row.has.join(', ') },
    { title: 'LACKS', value: (row) => row.lacks.join(', ') },
  ];
  printTable(out, shown, columns);
  if (rows.length > 0) out.write(`${tailOf(shown.length, rows.length, 'dataset')}\n`);
  out.write(
    rows.length === 0
      ? 'every dataset lies in all archives of its type\n'
      : 'npx longshore start copies <dataset…> makes what they lack\n',
  );
}

const copyColumns: Column<CopyFixity>[] = [
  { title: 'ARCHIVE', value: (row) => row.archive },
  { title: 'SIZE', value: (row) => bytes(row.size), align: 'right' },
  { title: 'ARCHIVED', value: (row) => ago(row.stored_at), spare: true },
  { title: 'PROVEN', value: (row) => (row.verified_at === null ? 'never' : ago(row.verified_at)) },
  { title: 'LEVEL', value: (row) => row.verified_how },
  { title: 'RESULT', value: (row) => resultOf(row), style: (row) => resultStyle(resultOf(row)) },
  {
    title: 'LAST LOOK',
    value: (row) => (row.last === null ? '-' : `${ago(row.last.at)} by ${row.last.actor}`),
    spare: true,
  },
  { title: 'NOTE', value: noteOf, wrap: true },
];

/** An open finding, else what the last look came to. */
function resultOf(row: CopyFixity): string {
  return (openFinding(row) ?? row.last)?.result ?? '-';
}

function noteOf(row: CopyFixity): string {
  const told = openFinding(row) ?? row.last;
  return told === null || told.result === 'ok' ? '' : findingText(told);
}

const jsonOf = (row: CopyFixity) => ({
  ...row,
  age_seconds:
    row.verified_at === null ? null : Math.round((Date.now() - Date.parse(row.verified_at)) / 1000),
  open: openFinding(row) !== null,
});

/** @param held in the order of their last proof */
export function totalsOf(
  held: readonly Holding[],
  prove_every_days: number,
): Omit<Totals, 'failed' | 'lacking' | 'unnamed'> {
  const since = new Date(Date.now() - prove_every_days * 86_400_000).toISOString();
  const dates = held.flatMap(({ verified_at }) => (verified_at === null ? [] : [verified_at]));
  return {
    copies: held.length,
    bytes: held.reduce((sum, { size }) => sum + size, 0),
    never_proven: held.length - dates.length,
    oldest_proof: dates[0] ?? null,
    proven_within: dates.filter((date) => date > since).length,
    prove_every_days,
  };
}

function totalsText(totals: Totals): string {
  const { copies, never_proven, oldest_proof, proven_within, prove_every_days } = totals;
  if (copies === 0) return 'no archived copies';
  const share = Math.floor((proven_within / copies) * 100);
  return [
    `${count(copies)} ${copies === 1 ? 'copy' : 'copies'}, ${bytes(totals.bytes)}`,
    `${share}% proven within ${prove_every_days} days`,
    `oldest proof ${ago(oldest_proof)}`,
    `${count(never_proven)} never proven`,
  ].join('; ');
}

async function ledger({ store: { catalog } }: Session, dataset: Dataset, options: Options): Promise<void> {
  const copies = await catalog.fixity({ dataset_id: dataset.id });
  const found = (await catalog.proofs({ dataset_id: dataset.id, limit: MANY })).filter(
    (line) => options.failed !== true || isFinding(line),
  );
  const lines = found.slice(0, limitOf(options));
  const { id: dataset_id, name } = dataset;
  if (options.json)
    return printJson({ dataset_id, name, copies: copies.map(jsonOf), count: found.length, lines });
  const out = process.stdout;
  printTable(out, copies, copyColumns);
  if (copies.length === 0)
    out.write(`dataset ${dataset.id} (${oneLine(dataset.name)}) has no recorded copies\n`);
  if (lines.length > 0) out.write('\n');
  printTable(out, lines, [
    { title: 'WHEN', value: ({ at }) => moment(at) },
    { title: 'ARCHIVE', value: ({ archive }) => archive },
    { title: 'LEVEL', value: ({ level }) => level },
    { title: 'RESULT', value: ({ result }) => result, style: ({ result }) => resultStyle(result) },
    { title: 'WHO', value: ({ actor }) => actor },
    { title: 'READ', value: (line) => readText(line), spare: true },
    { title: 'NOTE', value: (line) => (line.result === 'ok' ? '' : findingText(line)), wrap: true },
  ]);
  if (lines.length === 0) out.write('the ledger has no line about it\n');
  else if (lines.length < found.length) out.write(`${tailOf(lines.length, found.length, 'line')}\n`);
}

const MANY = 100_000;
