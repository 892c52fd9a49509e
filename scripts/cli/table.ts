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
}

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

/** Aligned columns with a heading, one line a row, no line longer than `width`; '' for no rows. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  options: { width?: number; colour?: boolean } = {},
): string {
  if (rows.length === 0) return '';
  const cells = rows.map((row) => columns.map((column) => oneLine(String(column.value(row) ?? '-') || '-')));
  const widths = fit(
    columns.map((column, at) =>
      Math.max(textWidth(column.title), ...cells.map((line) => textWidth(line[at] ?? ''))),
    ),
    columns,
    options.width ?? Number.POSITIVE_INFINITY,
  );
  const line = (texts: readonly string[], row?: Row): string =>
    columns
      .map((column, at) => {
        const shorten = column.cut === 'end' ? cutEnd : cutMiddle;
        const cut = shorten(texts[at] ?? '', widths[at] ?? 0);
        const gap = ' '.repeat(Math.max(0, (widths[at] ?? 0) - textWidth(cut)));
        const style = row === undefined ? 'bold' : column.style?.(row);
        const painted = paint(cut, style, options.colour ?? false);
        return column.align === 'right' ? gap + painted : painted + gap;
      })
      .join('  ')
      .trimEnd();
  const heading = line(columns.map((column) => column.title));
  return [heading, ...rows.map((row, at) => line(cells[at] ?? [], row))].join('\n');
}

/** Writes the table to fit where it goes. */
export function printTable<Row>(out: Out, rows: readonly Row[], columns: readonly Column<Row>[]): void {
  const text = table(rows, columns, {
    width: out.isTTY ? columnsOf(out) : undefined,
    colour: takesColour(out),
  });
  if (text !== '') out.write(`${text}\n`);
}

/** Shrinkable columns give way, widest first, down to their least; after that the line is simply too long. */
function fit<Row>(wanted: number[], columns: readonly Column<Row>[], width: number): number[] {
  const widths = [...wanted];
  const total = (): number => widths.reduce((sum, one) => sum + one, 0) + 2 * (widths.length - 1);
  for (let over = total() - width; over > 0; over = total() - width) {
    const leasts = columns.map(({ least = 12 }) => least);
    const candidates = widths.map((one, at) =>
      columns[at]?.shrink === true && one > (leasts[at] ?? 0) ? one : 0,
    );
    const widest = Math.max(...candidates);
    if (widest === 0) break;
    const at = candidates.indexOf(widest);
    const next = Math.max(leasts[at] ?? 0, ...candidates.filter((one) => one < widest));
    // Down to the next widest, so that two long columns end up sharing the loss; by one when they are equal.
    widths[at] = next === widest ? widest - 1 : Math.max(next, widest - over);
  }
  return widths;
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
