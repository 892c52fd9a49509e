import { stripVTControlCharacters, styleText } from 'node:util';
import { oneLine } from './format.ts';

export interface Column<Row> {
  title: string;
  value: (row: Row) => string | number | null | undefined;
  align?: 'right';
  /** Colour of the whole cell; only used where the output takes colours. */
  style?: (row: Row) => Style | undefined;
  /** Gives way first when the terminal is too narrow; cut in the middle, so that both ends of a path stay. */
  shrink?: boolean;
  /** How narrow it may become, default 12. */
  least?: number;
  /** A sentence is cut at its end. */
  cut?: 'end';
  /** A sentence takes as many lines as it needs where it gives way, and none of it is lost. */
  wrap?: boolean;
  /** Left out where the terminal is too narrow for all; of several the last one first. */
  spare?: boolean;
}

const LEAST = { wrap: 24, shrink: 12 } as const;

export type Style = 'red' | 'green' | 'yellow' | 'cyan' | 'gray' | 'bold';

export interface Out {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  rows?: number;
}

/** A terminal that was never told its size says 0 by 0: nothing is known then, and nothing is cut. */
export const columnsOf = (out: Out): number | undefined => out.columns || undefined;
export const rowsOf = (out: Out): number | undefined => out.rows || undefined;

/** Colours only on a terminal, and not where NO_COLOR, NODE_DISABLE_COLORS or TERM=dumb ask for none. */
export function takesColour(out: Out): boolean {
  const { NO_COLOR, NODE_DISABLE_COLORS, TERM } = process.env;
  return out.isTTY === true && !NO_COLOR && !NODE_DISABLE_COLORS && TERM !== 'dumb';
}

export function paint(text: string, style: Style | undefined, colour: boolean): string {
  return style === undefined || !colour ? text : styleText(style, text, { validateStream: false });
}

/** Aligned columns with a heading, no line longer than `width` where columns can give way; '' for no rows. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: { width?: number; colour?: boolean } = {},
): string {
  if (rows.length === 0) return '';
  const all = columns.map((column) => ({
    column,
    cells: rows.map((row) => oneLine(String(column.value(row) ?? '-') || '-')),
  }));
  const shown = withoutSpare(
    all.map(({ column, cells }) => ({
      column,
      cells,
      wanted: Math.max(textWidth(column.title), ...cells.map(textWidth)),
    })),
    options.width ?? Number.POSITIVE_INFINITY,
  );
  const widths = fit(shown, options.width ?? Number.POSITIVE_INFINITY);
  /** One row, as many lines as its longest wrapped cell has. */
  const lines = (texts: readonly string[], row?: Row): string[] => {
    const parts = shown.map(({ column }, at) => partsOf(column, texts[at] ?? '', widths[at] ?? 0));
    return Array.from({ length: Math.max(...parts.map(({ length }) => length)) }, (_, line) =>
      shown
        .map(({ column }, at) => {
          const text = parts[at]?.[line] ?? '';
          const gap = ' '.repeat(Math.max(0, (widths[at] ?? 0) - textWidth(text)));
          const style = row === undefined ? 'bold' : column.style?.(row);
          const painted = paint(text, style, options.colour ?? false);
          return column.align === 'right' ? gap + painted : painted + gap;
        })
        .join('  ')
        .trimEnd(),
    );
  };
  const heading = lines(shown.map(({ column }) => column.title));
  const body = rows.flatMap((row, at) =>
    lines(
      shown.map(({ cells }) => cells[at] ?? ''),
      row,
    ),
  );
  return [...heading, ...body].join('\n');
}

/** Writes the table to fit where it goes. */
export function printTable<Row>(out: Out, rows: readonly Row[], columns: readonly Column<Row>[]): void {
  const text = table(rows, columns, {
    width: out.isTTY ? columnsOf(out) : undefined,
    colour: takesColour(out),
  });
  if (text !== '') out.write(`${text}\n`);
}

interface Wanted<Row> {
  readonly column: Column<Row>;
  readonly cells: readonly string[];
  /** Columns of the terminal that nothing is cut in. */
  readonly wanted: number;
}

const givesWay = <Row>({ shrink, wrap }: Column<Row>): boolean => shrink === true || wrap === true;
const leastOf = <Row>({ column, wanted }: Wanted<Row>): number =>
  givesWay(column)
    ? Math.min(wanted, column.least ?? (column.wrap === true ? LEAST.wrap : LEAST.shrink))
    : wanted;
const lineOf = (widths: readonly number[]): number =>
  widths.reduce((sum, one) => sum + one, 0) + 2 * (widths.length - 1);

function withoutSpare<Row>(all: readonly Wanted<Row>[], width: number): readonly Wanted<Row>[] {
  if (lineOf(all.map(leastOf)) <= width) return all;
  const at = all.findLastIndex(({ column }) => column.spare === true);
  return at === -1 ? all : withoutSpare(all.toSpliced(at, 1), width);
}

/** Columns that may give way do, widest first, down to their least; after that the line is simply too long. */
function fit<Row>(all: readonly Wanted<Row>[], width: number): number[] {
  const widths = all.map(({ wanted }) => wanted);
  const leasts = all.map(leastOf);
  for (let over = lineOf(widths) - width; over > 0; over = lineOf(widths) - width) {
    const candidates = widths.map((one, at) => (one > (leasts[at] ?? 0) ? one : 0));
    const widest = Math.max(...candidates);
    if (widest === 0) break;
    const at = candidates.indexOf(widest);
    const next = Math.max(leasts[at] ?? 0, ...candidates.filter((one) => one < widest));
    // Down to the next widest, so that two long columns end up sharing the loss; by one when they are equal.
    widths[at] = next === widest ? widest - 1 : Math.max(next, widest - over);
  }
  return widths;
}

function partsOf<Row>({ wrap, cut }: Column<Row>, text: string, width: number): string[] {
  if (wrap === true) return wrapped(text, width);
  return [cut === 'end' ? cutEnd(text, width) : cutMiddle(text, width)];
}

/** Lines of at most `width`, broken at blanks; a word that is longer is broken where the line ends. */
export function wrapped(text: string, width: number): string[] {
  if (textWidth(text) <= width) return [text];
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const joined = line === '' ? word : `${line} ${word}`;
    if (textWidth(joined) <= width) {
      line = joined;
      continue;
    }
    if (line !== '') lines.push(line);
    line = '';
    for (const { segment } of graphemes.segment(word)) {
      if (line !== '' && textWidth(line + segment) > width) {
        lines.push(line);
        line = '';
      }
      line += segment;
    }
  }
  return [...lines, line];
}

export function cutEnd(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  let head = '';
  for (const { segment } of graphemes.segment(text)) {
    if (textWidth(head + segment) > width - 1) break;
    head += segment;
  }
  return `${head}…`;
}

export function cutMiddle(text: string, width: number): string {
  if (textWidth(text) <= width) return text;
  const parts = [...graphemes.segment(text)].map((part) => part.segment);
  const half = Math.floor((width - 1) / 2);
  let head = '';
  let tail = '';
  for (const part of parts) {
    if (textWidth(head + part) > width - 1 - half) break;
    head += part;
  }
  for (const part of parts.toReversed()) {
    if (textWidth(part + tail) > half) break;
    tail = part + tail;
  }
  return `${head}…${tail}`;
}

const graphemes = new Intl.Segmenter();
const WIDE =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/u;

/** Columns that a text takes in a terminal. */
export function textWidth(text: string): number {
  const plain = stripVTControlCharacters(text);
  // Nearly every cell: no segmenting for 10,000 rows of plain names.
  if (/^[\u0020-\u007e]*$/.test(plain)) return plain.length;
  let width = 0;
  for (const { segment } of graphemes.segment(plain)) width += WIDE.test(segment) ? 2 : 1;
  return width;
}
