/** A plan for people: what moves where, what it needs, how long it takes, what would stop it. */
import type { Expectation, Item, Plan, PlannedStep, Room, Stop, Totals } from '../plan/model.ts';
import { isShort } from '../plan/space.ts';
import { bytes, count, counted, duration, oneLine, rate } from './format.ts';
import { type Out, paint, takesColour } from './table.ts';
import { asTyped } from './typed.ts';

export function showPlan(out: Out, plan: Plan): void {
  const colour = takesColour(out);
  const { workflow, dataset_id, dataset, type, would, because } = plan;
  const verb = {
    start: 'would start',
    join: 'would join',
    nothing: 'would not start',
    stop: 'would not start',
  };
  const why =
    would === 'join' ? ` (workflow ${because} brings it already)` : because === null ? '' : ` (${because})`;
  out.write(
    `${paint(`${verb[would]} ${workflow}`, 'bold', colour)} for dataset ${dataset_id} ${oneLine(dataset)} (${type})${oneLine(why)}\n`,
  );
  for (const stop of plan.stops) showStop(out, stop, colour);
  if (would === 'join' || would === 'nothing') return;
  for (const step of plan.steps) showStep(out, step);
  for (const room of plan.space) showRoom(out, room, colour);
  out.write(`  ${totalsText(plan.totals)}\n`);
}

/** Of several that were planned together, and would run together. */
export function showSum(out: Out, plans: readonly Plan[], space: readonly Room[]): void {
  const moving = plans.filter(({ would }) => would === 'start' || would === 'stop');
  const sum = (of: (totals: Totals) => number): number =>
    moving.reduce((total, plan) => total + of(plan.totals), 0);
  out.write(
    `\n${counted(plans.length, 'dataset')}: ${bytes(sum(({ read }) => read))} read, ${bytes(sum(({ written }) => written))} written, ${bytes(sum(({ removed }) => removed))} removed\n`,
  );
  for (const room of space) showRoom(out, room, takesColour(out));
}

function showStop(out: Out, { step, code, message, hint }: Stop, colour: boolean): void {
  const where = step === null ? '' : `${step}: `;
  out.write(
    `  ${paint(oneLine(`stopped by  ${where}${code}: ${message}`), 'red', colour)}\n  ${asTyped(hint)}\n`,
  );
}

function showStep(
  out: Out,
  { step, task, reads, writes, removes, links, notes, amount, expected }: PlannedStep,
): void {
  out.write(
    `  ${step} (${task})${expected === null ? '' : `, about ${duration(expected.seconds)} (${basisOf(expected)})`}\n`,
  );
  const line = (verb: string, text: string): unknown => out.write(`    ${verb.padEnd(7)} ${oneLine(text)}\n`);
  for (const one of reads) line('read', itemText(one));
  for (const one of writes) line('write', itemText(one));
  for (const one of removes) line('remove', itemText(one));
  for (const { path, target } of links) line('link', `${path} → ${target}`);
  for (const note of notes) line('note', note);
  if (expected === null)
    line('time', amount === null ? 'not known beforehand' : 'not known: no run to go by');
}

function itemText({ what, path, bytes: size, files }: Item): string {
  const amounts = [
    ...(size === null || size === 0 ? [] : [bytes(size)]),
    ...(files === null || files < 2 ? [] : [`${count(files)} files`]),
  ];
  return `${what}: ${path}${amounts.length === 0 ? '' : ` (${amounts.join(', ')})`}`;
}

function basisOf({ rate: speed, unit, runs, from_smaller }: Expectation): string {
  const shown = unit === 'bytes' ? rate(speed) : `${count(Math.round(speed))} files/s`;
  const past = runs === 1 ? 'of one run' : `median of ${runs} runs`;
  return `${shown}, ${past}${from_smaller ? ' of much smaller datasets' : ''}`;
}

function showRoom(out: Out, room: Room, colour: boolean): void {
  const { folders, need, available, free, reserved, keep } = room;
  const parts = [
    `${bytes(free)} free`,
    ...(reserved > 0 ? [`${bytes(reserved)} promised to other tasks`] : []),
    ...(keep > 0 ? [`${bytes(keep)} kept free`] : []),
  ];
  const text = `space   need ${bytes(need)}, have ${bytes(available)} (${parts.join(', ')}) at ${folders.join(', ')}`;
  out.write(`  ${paint(oneLine(text), isShort(room) ? 'red' : undefined, colour)}\n`);
}

function totalsText({ read, written, removed, seconds }: Totals): string {
  const moved = [
    ...(read > 0 ? [`${bytes(read)} read`] : []),
    ...(written > 0 ? [`${bytes(written)} written`] : []),
    ...(removed > 0 ? [`${bytes(removed)} removed`] : []),
  ];
  const time = seconds === null ? 'time not known for every step' : `about ${duration(seconds)} of work`;
  return `in all  ${[...moved, time].join(', ')}`;
}
