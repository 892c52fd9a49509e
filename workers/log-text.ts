/** Log lines for a terminal. Names of files and folders, and what programs print, are in them, and steer nothing there. */
import type { LogDescriptor } from 'pino';

/** In a line of JSON: an escaped backslash, an escape that stands for a control character, or one that needs no escape. */
const CONTROL = /\\\\|\\u00[0-9a-f]{2}|\\[bfr]|[\u007f-\u009f\u2028\u2029\p{Bidi_Control}]/giu;

/** A line of JSON in which escapes stand for themselves, except for those of tab and newline. */
export const visible = (line: string): string =>
  line.replace(CONTROL, (found) => {
    if (found === '\\\\') return found;
    if (found.startsWith('\\')) return `\\${found}`;
    return String.raw`\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });

/** What goes on after a newline is seen to belong to its line: it looks like no line of its own. */
export const indented = (log: LogDescriptor, key: string): string =>
  String(log[key] ?? '').replaceAll('\n', '\n    ');
