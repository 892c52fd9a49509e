import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from '../../workers/store.ts';
import { toServed } from '../../workers/workflows/status.ts';
import { moment, oneLine } from './format.ts';
import {
  changeLines,
  currentStep,
  type Followed,
  isDone,
  meterText,
  statusLine,
  styleOf,
} from './progress.ts';
import { columnsOf, cutMiddle, type Out, paint, rowsOf, takesColour, textWidth } from './table.ts';

export interface FollowOptions {
  store: Pick<Store, 'catalog' | 'records'>;
  /** Fixed, or asked at each look, so that workflows may join. Unknown ids are left out until they exist. */
  workflow_ids: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  out: Out;
  /** Redraw in place; default: what `out` says of itself. Otherwise a line for each change. */
  isTTY?: boolean;
  /** Aborted: returns what was seen last. */
  signal?: AbortSignal;
  /** After each look. */
  onChange?: (followed: readonly Followed[]) => void;
  /** When to stop; default: all are done, and there is one at least. */
  finished?: (followed: readonly Followed[]) => boolean;
  interval_ms?: number;
}

/** Without a terminal, a running step's meter is one line in this time. */
const METER_EVERY_MS = 5_000;

/** Shows workflows live until they are finished. Reads the records only, so it works from any process. */
export async function follow(options: FollowOptions): Promise<Followed[]> {
  const { out, store, signal } = options;
  const onTerminal = options.isTTY ?? out.isTTY === true;
  const show = onTerminal ? drawInPlace(out) : writeChanges(out);
  const finished =
    options.finished ?? ((all) => all.length > 0 && all.every((one) => isDone(one.workflow.status)));
  const names = new Map<number, string>();
  for (;;) {
    const ids =
      typeof options.workflow_ids === 'function' ? await options.workflow_ids() : options.workflow_ids;
    const followed = await look(store, ids, names);
    show(followed);
    options.onChange?.(followed);
    if (signal?.aborted || finished(followed)) return followed;
    await sleep(options.interval_ms ?? (onTerminal ? 200 : 300), undefined, { signal }).catch(
      () => undefined,
    );
  }
}

/** One look at some workflows, in the order of their ids as given. */
export async function look(
  store: FollowOptions['store'],
  ids: readonly string[],
  names: Map<number, string> = new Map(),
): Promise<Followed[]> {
  const found = new Map<string, Followed>();
  for (let at = 0; at < ids.length; at += 200) {
    const workflow_ids = ids.slice(at, at + 200);
    const { results } = await store.records.listWorkflows({ workflow_ids, limit: workflow_ids.length });
    for (const one of results) {
      const { id, dataset_id } = one.workflow;
      found.set(id, { id, dataset: await nameOf(store, dataset_id, names), workflow: toServed(one) });
    }
  }
  return ids.flatMap((id) => found.get(id) ?? []);
}

async function nameOf(
  store: FollowOptions['store'],
  id: number | null,
  names: Map<number, string>,
): Promise<string> {
  if (id === null) return '-';
  const known = names.get(id);
  if (known !== undefined) return known;
  // Renamed when it is deleted; what is followed keeps the name under which it was met.
  const name = await store.catalog.get(id).then(
    (dataset) => dataset.name,
    () => `dataset ${id}`,
  );
  names.set(id, name);
  return name;
}

function writeChanges(out: Out): (followed: readonly Followed[]) => void {
  const before = new Map<string, Followed>();
  const metered = new Map<string, number>();
  return (followed) => {
    for (const one of followed) {
      const lines = changeLines(before.get(one.id) ?? null, one);
      before.set(one.id, one);
      for (const line of lines) out.write(`${clock()} ${line}\n`);
      const step = currentStep(one.workflow);
      const meter = meterText(step?.last_task_run);
      const last = metered.get(one.id) ?? 0;
      if (lines.length > 0) metered.set(one.id, Math.max(last, Date.now() - METER_EVERY_MS + 1000));
      else if (meter !== '' && Date.now() - last >= METER_EVERY_MS) {
        metered.set(one.id, Date.now());
        out.write(`${clock()} ${oneLine(one.dataset)}: ${step?.name ?? ''} ${meter}\n`);
      }
    }
  };
}

const clock = (): string => moment(new Date().toISOString());

function drawInPlace(out: Out): (followed: readonly Followed[]) => void {
  let drawn = 0;
  let last = '';
  return (followed) => {
    const lines = screenLines(followed, {
      width: columnsOf(out) ?? 80,
      height: rowsOf(out) ?? 24,
      colour: takesColour(out),
    });
    const text = lines.map((line) => `${line}\n`).join('');
    if (text === last) return;
    out.write(`${drawn > 0 ? `\u001b[${drawn}A` : ''}\u001b[J${text}`);
    drawn = lines.length;
    last = text;
  };
}

/** What does not fit on the screen is counted: a screen that scrolls cannot be drawn over. */
export function screenLines(
  followed: readonly Followed[],
  screen: { width: number; height: number; colour: boolean },
): string[] {
  const room = Math.max(1, screen.height - 2);
  const urgency = { FAILURE: 0, REVOKED: 0, STARTED: 1, PENDING: 2, SUCCESS: 3 } as const;
  const chosen =
    followed.length <= room
      ? followed
      : followed
          .toSorted((a, b) => urgency[a.workflow.status] - urgency[b.workflow.status])
          .slice(0, room - 1);
  const lines = chosen.map((one) => statusLine(one));
  const widest = (key: 'dataset' | 'workflow' | 'step', most: number): number =>
    Math.min(most, Math.max(...lines.map((line) => textWidth(oneLine(line[key])))));
  const widths = {
    dataset: widest('dataset', 32),
    workflow: widest('workflow', 16),
    step: widest('step', 24),
  };
  const cell = (text: string, width: number): string => {
    const cut = cutMiddle(oneLine(text), width);
    return cut + ' '.repeat(Math.max(0, width - textWidth(cut)));
  };
  const drawn = lines.map((line) => {
    const head = `${line.mark} ${cell(line.dataset, widths.dataset)}  ${cell(line.workflow, widths.workflow)}  ${cell(line.step, widths.step)}  `;
    const detail = cutMiddle(line.detail, Math.max(8, screen.width - 1 - textWidth(head)));
    return paint(cutMiddle(head + detail, screen.width - 1), styleOf(line.status), screen.colour);
  });
  const hidden = followed.length - chosen.length;
  if (hidden === 0) return drawn;
  const done = followed.filter((one) => one.workflow.status === 'SUCCESS').length;
  return [...drawn, `  and ${hidden} more (${done} of ${followed.length} done)`];
}
