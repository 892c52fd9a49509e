/** Figures as people read them. */
import { humanBytes } from '../../workers/content/human-bytes.ts';
import { momentText } from '../../workers/dataset/moment.ts';
import type { ByteSize } from '../../workers/dataset/byte-size.ts';

export function bytes(size: ByteSize | null | undefined): string {
  const value = Number(size ?? Number.NaN);
  return Number.isFinite(value) ? humanBytes(value) : '-';
}

export function rate(bytesPerSecond: number | null | undefined): string {
  const text = bytes(bytesPerSecond);
  return text === '-' ? text : `${text}/s`;
}

/** `450 ms`, `4.2 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`. */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return '-';
  const value = Math.max(0, seconds);
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const pad = (part: number): string => String(part).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
  const hours = Math.floor(minutes / 60);
  return `${Math.floor(hours / 24)} d ${pad(hours % 24)} h`;
}

/** `12,345`, the same in every locale so that output can be compared. */
export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? '-' : value.toLocaleString('en-US');
}

/** `1 file`, `2 files`, `3 entries`; `-` where it is not known. */
export const counted = (value: number | null | undefined, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

/** How long ago an ISO date was. */
export function ago(date: string | null | undefined, now = Date.now()): string {
  if (date === null || date === undefined) return '-';
  const seconds = (now - Date.parse(date)) / 1000;
  return seconds < 1 ? 'now' : `${duration(Math.round(seconds))} ago`;
}

/** Where how long ago would not do: to compare, or to find again in a log. */
export const moment = (date: string | null | undefined): string =>
  date === null || date === undefined ? '-' : momentText(date);

/** `10MB`, `1.5 GiB`, `4096`: MB and MiB both count in 1024s, as `dd` and `split` do for M. Null: no size. */
export function parseBytes(text: string): number | null {
  const found = /^\s*(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?\s*$/i.exec(text);
  if (found === null) return null;
  const power = ' KMGTP'.indexOf((found[2] ?? '').toUpperCase() || ' ');
  return Math.round(Number(found[1]) * 1024 ** power);
}

/**
 * A name on one line: control characters (a newline in a folder name) shown as escapes, never sent to a terminal; and those
 * that turn the direction of writing, by which a name reads like another one.
 */
export function oneLine(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Bidi_Control}]/gu,
    (char) => NAMED[char] ?? String.raw`\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What a program wrote keeps its tabs: they only indent. */
export const programLine = (text: string): string => text.split('\t').map(oneLine).join('\t');

/** A message that may have several lines: names in it send nothing else to a terminal than these. */
export const printable = (text: string): string => text.split('\n').map(oneLine).join('\n');

const NAMED: Readonly<Record<string, string>> = {
  '\n': String.raw`\n`,
  '\r': String.raw`\r`,
  '\t': String.raw`\t`,
};
