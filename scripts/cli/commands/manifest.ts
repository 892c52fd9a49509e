import { type Command, Option } from 'commander';
import type { DigestName } from '../../../config/index.ts';
import type { Dataset } from '../../../workers/dataset/types.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import type { BagDigest, BagPayload } from '../../../workers/content/bag/bag.ts';
import type { BagLinks } from '../../../workers/content/bag/contents.ts';
import { bagDataset } from '../../manifest/bag.ts';
import { withOutput } from '../../manifest/output.ts';
import { writeChecksums, writeDocument, writeStored } from '../../manifest/texts.ts';
import {
  type CopyParts,
  type DatasetManifest,
  openCopies,
  openDatasetManifest,
} from '../../recall/copies.ts';
import { createFindings } from '../../recall/findings.ts';
import { findDataset } from '../find.ts';
import { bytes, counted, oneLine } from '../format.ts';
import { createMeter, type Meter } from '../meter.ts';
import { EXIT, helpTail, jsonOption } from '../program.ts';
import { currentUser, printJson, type Session, withStore } from '../session.ts';
import { stopOnSignal } from '../stop.ts';

type Format = 'json' | 'ndjson' | 'md5sum' | 'sha256sum' | 'b3sum' | 'bagit';

interface Options {
  format: Format;
  to?: string;
  force?: boolean;
  digest: BagDigest[];
  payload: BagPayload;
  links: BagLinks;
  json?: boolean;
}

const SUMS: Partial<Record<Format, DigestName>> = { md5sum: 'md5', sha256sum: 'sha256', b3sum: 'blake3' };

export function addManifest(program: Command): void {
  program
    .command('manifest')
    .argument('<dataset>', 'id or name')
    .description('every file of an archived dataset with its digests; or a BagIt bag of the staged copy')
    .addOption(
      new Option(
        '--format <format>',
        'json: one document; ndjson: lines as stored; …sum: for `…sum -c`; bagit: a bag',
      )
        .choices(['json', 'ndjson', 'md5sum', 'sha256sum', 'b3sum', 'bagit'])
        .default('json'),
    )
    .option('--to <path>', 'file to write instead of stdout; the folder of a bag')
    .option('--force', 'replace a file, or a bag, that exists')
    .addOption(
      new Option('--digest <name...>', 'of a bag').choices(['sha256', 'md5']).default(['sha256'], 'sha256'),
    )
    .addOption(
      new Option('--payload <how>', 'of a bag: hard links where possible, copies, or none')
        .choices(['link', 'copy', 'none'])
        .default('link'),
    )
    .addOption(
      new Option(
        '--links <how>',
        'symbolic links, which a bag cannot hold: fail, follow to the file, or skip',
      )
        .choices(['fail', 'follow', 'skip'])
        .default('fail'),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore manifest run_17 | less',
        'longshore manifest run_17 --format md5sum --to run_17.md5',
        'longshore manifest run_17 --format bagit --to /delivery/run_17 --digest sha256 md5 --links skip',
      ]),
    )
    .action(async (text: string, options: Options) => {
      process.exitCode = await withStore((session) => run(session, text, options));
    });
}

async function run(session: Session, text: string, options: Options): Promise<number> {
  const { config, store } = session;
  const dataset = await findDataset(store, text);
  const stopping = stopOnSignal('the export', 'nothing of it was left');
  const say = (line: string): void => void process.stderr.write(`${oneLine(line)}\n`);
  const { problem } = createFindings({ catalog: store.catalog, listener: { say } }, dataset, currentUser());
  const parts: CopyParts = { config, catalog: store.catalog, signal: stopping.signal, onProblem: problem };
  try {
    if (options.format === 'bagit' && options.to === undefined)
      throw new LongshoreError('E_USAGE', 'a bag is a folder: give its name with --to');
    const copies = await openCopies(parts, dataset);
    const manifest = await openDatasetManifest(parts, dataset, copies);
    try {
      if (options.format === 'bagit') await bag(session, dataset, manifest, options, stopping.signal);
      else await writeText(dataset, manifest, options, stopping.signal);
    } finally {
      manifest.close();
    }
    return EXIT.ok;
  } finally {
    stopping.end();
  }
}

const stagedPath = ({ is_staged, staged_path }: Dataset): string | null => (is_staged ? staged_path : null);

async function writeText(
  dataset: Dataset,
  manifest: DatasetManifest,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const { format, to, force = false } = options;
  const digest = SUMS[format];
  await withOutput({ to, force }, async (output) => {
    if (digest === undefined)
      return format === 'ndjson'
        ? writeStored(manifest.path, output)
        : writeDocument(dataset, manifest, output);
    const total = manifest.trailer.counts.bytes;
    const meter = createMeter(process.stderr, { label: `reading the files for ${digest}`, total });
    try {
      const staged = stagedPath(dataset);
      const progress = { signal, onProgress: (done: number) => meter.set(done) };
      return await writeChecksums({ manifest: manifest.path, digest, staged, dataset, ...progress }, output);
    } finally {
      meter.end();
    }
  });
}

const LABELS = { compare: 'comparing the staged copy', copy: 'copying', digest: 'reading for the digests' };

async function bag(
  { config }: Session,
  dataset: Dataset,
  manifest: DatasetManifest,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const staged = stagedPath(dataset);
  if (staged === null)
    throw new LongshoreError(
      'E_WORKFLOW_STATE',
      `dataset ${dataset.id} (${dataset.name}) has no staged copy to bag`,
      {
        hint: `Stage it first: longshore stage ${dataset.id}.`,
      },
    );
  const { to = '', force = false, digest, payload, links, json } = options;
  let current: { what: string; meter: Meter } | null = null;
  const onProgress = (what: keyof typeof LABELS, done: number, total: number): void => {
    if (current?.what !== what) {
      current?.meter.end();
      current = { what, meter: createMeter(process.stderr, { label: LABELS[what], total }) };
    }
    current.meter.set(done);
  };
  const request = { to, force, digests: digest, payload, links };
  const made = await bagDataset({ config, dataset, staged, manifest, signal, onProgress }, request);
  (current as { meter: Meter } | null)?.meter.end();
  if (json) return printJson({ dataset_id: dataset.id, ...made, digests: digest, payload });
  const how = payload === 'none' ? ', without its payload' : made.copied ? ', copied' : ', by hard links';
  process.stdout.write(
    `${oneLine(made.path)}: a bag of ${counted(made.files, 'file')} (${bytes(made.bytes)})${how}; ${digest.join(', ')}\n`,
  );
  const lost = [
    made.empty_folders.length > 0 ? counted(made.empty_folders.length, 'empty folder') : '',
    made.skipped_links.length > 0 ? counted(made.skipped_links.length, 'link') : '',
  ].filter((part) => part !== '');
  if (lost.length > 0)
    process.stderr.write(`not in the bag: ${lost.join(' and ')}; bag-info.txt lists them\n`);
}
