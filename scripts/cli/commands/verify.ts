import { type Command, Option } from 'commander';
import { roughSize } from '../../../workers/dataset/byte-size.ts';
import type { BundleCopy, Dataset, Proof } from '../../../workers/dataset/types.ts';
import { LongshoreError } from '../../../workers/errors.ts';
import { raiseAlarms } from '../../fixity/alarms.ts';
import { recordedCopies } from '../../fixity/copies.ts';
import { isFinding } from '../../../workers/dataset/types.ts';
import { proveAndRecord } from '../../fixity/prove.ts';
import { proveStaged, type StagedProof } from '../../fixity/staged.ts';
import { differenceTexts, readText, resultStyle } from '../../fixity/view.ts';
import { type Outcome, tryEach } from '../each.ts';
import { findDataset } from '../find.ts';
import { counted, oneLine, printable } from '../format.ts';
import { createMeter } from '../meter.ts';
import { exitCodeOf, helpTail, jsonOption, toldOf } from '../program.ts';
import { currentUser, type Session, withStore } from '../session.ts';
import { stopOnSignal } from '../stop.ts';
import { type Out, paint, takesColour } from '../table.ts';

const LEVELS = ['size', 'digest', 'stream', 'readback'] as const;
/** Differences shown of one copy; the ledger keeps more. */
const SHOWN = 10;

interface Options {
  level: (typeof LEVELS)[number];
  archive?: string;
  json?: boolean;
}

interface Verified {
  readonly dataset_id: number;
  readonly name: string;
  readonly level: Options['level'];
  readonly copies: readonly Proof[];
  readonly staged: StagedProof | null;
}

export function addVerify(program: Command): void {
  program
    .command('verify')
    .argument('<dataset...>', 'ids or names')
    .description('prove every archived copy of datasets now; each result goes into the fixity ledger')
    .addOption(
      new Option(
        '--level <level>',
        'size: the object has its size; digest: the archive states its digest; stream: read every byte; readback: the staged files too',
      )
        .choices(LEVELS)
        .default('stream'),
    )
    .option('--archive <name>', 'only the copy in this archive')
    .addOption(jsonOption())
    .addHelpText(
      'after',
      helpTail([
        'longshore verify run_17',
        'longshore verify run_17 run_18 --level size',
        'longshore verify 17 --level readback --archive s3 --json',
      ]),
    )
    .action(async (words: string[], options: Options) => {
      process.exitCode = await withStore((session) =>
        tryEach(words, { list: 'datasets', json: options.json }, (word) =>
          run(session, word, options, words.length > 1),
        ),
      );
    });
}

/** @param headed of several: whose results follow */
async function run(session: Session, text: string, options: Options, headed: boolean): Promise<Outcome> {
  const quiet = { ...session, log: session.log.child({}, { level: 'silent' }) }; // Said below, once.
  const dataset = await findDataset(session.store, text);
  if (dataset.is_deleted)
    throw new LongshoreError('E_DATASET_DELETED', `dataset ${dataset.id} (${dataset.name}) was deleted`);
  const copies = chosen(dataset, await recordedCopies(session, dataset), options.archive);
  const { id, name } = dataset;
  if (headed && !options.json) process.stdout.write(`dataset ${id} ${oneLine(name)}\n`);
  const stopping = stopOnSignal('the verification', 'what was proven before is in the ledger');
  try {
    const proofs: Proof[] = [];
    for (const copy of copies) {
      const proof = await verifyCopy(quiet, dataset, copy, options.level, stopping.signal);
      proofs.push(proof);
      if (!options.json) showProof(process.stdout, proof);
    }
    const staged =
      options.level === 'readback' ? await verifyStaged(session, dataset, proofs, stopping.signal) : null;
    if (staged !== null && !options.json) showStaged(process.stdout, staged);
    const verified = { dataset_id: id, name, level: options.level, copies: proofs, staged };
    await recordAudit(session, verified);
    if (proofs.some(isFinding)) await raiseAlarms(session, { dataset_id: id });
    return conclude(verified, options.json);
  } finally {
    stopping.end();
  }
}

function chosen(dataset: Dataset, copies: readonly BundleCopy[], archive?: string): readonly BundleCopy[] {
  const wanted = copies.filter((copy) => archive === undefined || copy.archive === archive);
  if (wanted.length > 0) return wanted;
  const known = copies.map((copy) => copy.archive).join(', ');
  throw new LongshoreError(
    'E_USAGE',
    `dataset ${dataset.id} (${dataset.name}) has no copy in "${archive}"; it has: ${known}`,
  );
}

async function verifyCopy(
  session: Session,
  dataset: Dataset,
  copy: BundleCopy,
  level: Options['level'],
  signal: AbortSignal,
): Promise<Proof> {
  const meter = createMeter(process.stderr, { label: `reading ${copy.archive}`, total: copy.size });
  return proveAndRecord(session, {
    dataset_id: dataset.id,
    copy,
    level: level === 'readback' ? 'stream' : level,
    actor: currentUser(),
    signal,
    onProgress: (bytes) => meter.set(bytes),
  }).finally(() => meter.end());
}

async function verifyStaged(
  session: Session,
  dataset: Dataset,
  proofs: readonly Proof[],
  signal: AbortSignal,
): Promise<StagedProof | null> {
  const label = 'reading the staged files';
  const meter = createMeter(process.stderr, { label, total: roughSize(dataset.size) });
  const onProgress = (bytes: number): void => meter.set(bytes);
  return proveStaged(session, dataset, proofs, { signal, onProgress }).finally(() => meter.end());
}

async function recordAudit({ store }: Session, verified: Verified): Promise<void> {
  const { dataset_id, level, copies, staged } = verified;
  await store.records.audit({
    actor: currentUser(),
    action: 'dataset.verify',
    subject: `dataset:${dataset_id}`,
    details: {
      level,
      copies: copies.map(({ archive, result }) => ({ archive, result })),
      ...(staged === null ? {} : { staged: staged.result, problems: staged.problems.slice(0, SHOWN) }),
    },
  });
}

function showProof(out: Out, proof: Proof): void {
  const { archive, result, level, details } = proof;
  const colour = takesColour(out);
  const parts = [
    paint(result, resultStyle(result), colour),
    `by ${level}`,
    readText(proof),
    oneLine(typeof details.path === 'string' ? details.path : proof.key),
    typeof details.reason === 'string' ? oneLine(details.reason) : '',
  ];
  out.write(`${archive}: ${parts.filter((part) => part !== '').join(', ')}\n`);
  const texts = differenceTexts(details, SHOWN);
  for (const text of texts) out.write(`  ${text}\n`);
  const total = typeof details.num_differences === 'number' ? details.num_differences : 0;
  if (total > texts.length) out.write(`  and ${counted(total - texts.length, 'more difference')}\n`);
}

function showStaged(out: Out, { path, result, files, problems, num_problems }: StagedProof): void {
  const text = paint(result, resultStyle(result), takesColour(out));
  out.write(`staged: ${text}, ${counted(files, 'file')} read again, ${oneLine(path)}\n`);
  for (const [at, reason] of problems.slice(0, SHOWN)) out.write(`  "${oneLine(at)}" ${oneLine(reason)}\n`);
  if (num_problems > SHOWN) out.write(`  and ${counted(num_problems - SHOWN, 'more difference')}\n`);
}

/** The worst of it, on stderr or in its JSON. */
function conclude(verified: Verified, json = false): Outcome {
  const failure = failureOf(verified);
  if (failure === null) return { json: verified };
  const error = toldOf(failure);
  if (!json) process.stderr.write(`${error.code}: ${printable(error.message)}\n${printable(error.hint)}\n`);
  return { json: { ...verified, error }, code: exitCodeOf(failure) };
}

function failureOf({ dataset_id, name, copies, staged }: Verified): LongshoreError | null {
  const dataset = `dataset ${dataset_id} (${name})`;
  const of = (proofs: readonly Proof[]): string =>
    proofs.map(({ archive, result }) => `${archive}: ${result}`).join(', ');
  const findings = copies.filter(isFinding);
  if (findings.length > 0)
    return new LongshoreError(
      'E_FIXITY',
      `archived copies of ${dataset} are not what was archived: ${of(findings)}`,
    );
  if (staged?.result === 'mismatch')
    return new LongshoreError(
      'E_VALIDATION',
      `the staged copy of ${dataset} differs in ${counted(staged.num_problems, 'place')}`,
    );
  const away = copies.filter(({ result }) => result === 'unavailable');
  if (away.length === 0) return null;
  // Waiting helps where an archive is away; not where it refuses who asks.
  const denied = away.every(({ details }) => details.code === 'E_ARCHIVE_DENIED');
  return new LongshoreError(
    denied ? 'E_ARCHIVE_DENIED' : 'E_ARCHIVE_UNAVAILABLE',
    `copies of ${dataset} could not be looked at: ${of(away)}`,
  );
}
