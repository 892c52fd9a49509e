import { type Command, InvalidArgumentError, Option } from 'commander';
import { loadConfig } from '../../../config/index.ts';
import { type Area, AREA_NAMES, areasOf } from '../../doctor/areas.ts';
import { type Finding, type Level, worst } from '../../doctor/finding.ts';
import { examine } from '../../doctor/run.ts';
import { counted, oneLine } from '../format.ts';
import { EXIT, helpTail, jsonOption } from '../program.ts';
import { printJson } from '../session.ts';
import { type Out, paint, printTable, type Style, takesColour } from '../table.ts';
import { asTyped } from '../typed.ts';

interface Options {
  only?: Area['name'][];
  roundTrip?: boolean;
  json?: boolean;
}

const EXAMPLES = [
  'longshore doctor',
  'longshore doctor --only redis,paths',
  'longshore doctor --round-trip      also writes to every archive, and removes it',
  'longshore doctor --json | jq \'.findings[] | select(.level != "ok")\'',
];

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description(
      'check Redis, catalog, folders, mounts, space, tools, clocks and archives of this host; each finding with its remedy',
    )
    .addOption(
      new Option('--only <areas>', `some of ${AREA_NAMES.join(', ')}; separated by commas`).argParser(
        areaNames,
      ),
    )
    .option(
      '--round-trip',
      'put, read and delete a small object (longshore-doctor-HOST.tar) in every archive: this writes, on tape too',
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Without --round-trip nothing is changed; an empty file is made for a moment on
each file system that Longshore writes to, to see its clock. Nothing hangs: what
does not answer in config.doctor.answer_seconds is a problem by name.
${helpTail(EXAMPLES)}
Exit code 1 also when there is a problem; warnings alone give 0.`,
    )
    .action(async (options: Options) => {
      process.exitCode = await doctor(options);
    });
}

async function doctor({ only, roundTrip = false, json = false }: Options): Promise<number> {
  // Without a look at the folders, which would hang on a mount that is away: that is what the areas are for.
  const { config } = await loadConfig();
  const wanted = roundTrip || only?.includes('round-trip') === true;
  const areas = areasOf(config, { roundTrip: wanted }).filter(
    ({ name }) => only === undefined || only.includes(name) || (roundTrip && name === 'round-trip'),
  );
  const findings = await examine(areas);
  if (json) printJson({ level: worst(findings), findings });
  else show(process.stdout, findings);
  return worst(findings) === 'problem' ? EXIT.failed : EXIT.ok;
}

const STYLES: Record<Level, Style> = { ok: 'green', warning: 'yellow', problem: 'red' };

/** A table on a terminal; one line a finding for everybody else, so that grep and logs get all of it. */
export function show(out: Out, findings: readonly Finding[]): void {
  if (out.isTTY === true) {
    printTable(out, findings, [
      { title: 'LEVEL', value: ({ level }) => level, style: ({ level }) => STYLES[level] },
      { title: 'CHECK', value: ({ id }) => id },
      { title: 'OF', value: ({ subject }) => subject, shrink: true },
      { title: 'SEEN', value: ({ seen }) => seen, wrap: true },
    ]);
    for (const { level, id, subject, seen, expected, remedy } of findings) {
      if (level === 'ok') continue;
      out.write(
        `\n${paint(`${level} ${idOf(id, subject)}`, STYLES[level], takesColour(out))}: ${oneLine(seen)}\n`,
      );
      out.write(`  expected: ${oneLine(expected)}\n  remedy:   ${asTyped(oneLine(remedy ?? '-'))}\n`);
    }
    out.write('\n');
  } else for (const finding of findings) out.write(`${lineOf(finding)}\n`);
  const count = (wanted: Level): number => findings.filter(({ level }) => level === wanted).length;
  out.write(
    `${count('ok')} ok, ${counted(count('warning'), 'warning')}, ${counted(count('problem'), 'problem')}\n`,
  );
}

const idOf = (id: string, subject: string | null): string =>
  subject === null ? id : `${id} (${oneLine(subject)})`;

function lineOf({ level, id, subject, seen, expected, remedy }: Finding): string {
  const what = `${level} ${idOf(id, subject)}: ${oneLine(seen)}`;
  return level === 'ok'
    ? what
    : `${what}; expected ${oneLine(expected)}; remedy: ${asTyped(oneLine(remedy ?? '-'))}`;
}

function areaNames(text: string): Area['name'][] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !(AREA_NAMES as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`"${unknown}" is none of ${AREA_NAMES.join(', ')}.`);
  return names as Area['name'][];
}
