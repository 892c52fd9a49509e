/** What `quota`, `lfs quota` and `df` print, as figures. An asterisk marks what is exceeded; `-` is none. */

/** Bytes, or files where the name says so. */
export interface Usage {
  readonly measurement: string;
  readonly usage: number;
  /** 0: there is none. */
  readonly limit: number;
}

const filesOf = (file_system: string): string => `${file_system} files`;

/**
 * The `quota` of sites that print a table of names and sizes (`Filesystem  usage  quota …`, two blanks between columns, sizes
 * as 4.0G), and that of Linux (`Filesystem blocks quota limit grace files …`, blocks of 1 KiB).
 */
export function parseQuota(text: string): Usage[] {
  const found: Usage[] = [];
  let header: string[] | null = null;
  for (const line of text.split('\n').map((one) => one.trim())) {
    if (line.startsWith('Filesystem')) header = line.split(/\s+/);
    else if (line === '' || line.startsWith('Projects')) continue;
    else if (header?.includes('blocks')) found.push(...linuxRow(line));
    else if (header !== null) found.push(...siteRow(header, line));
  }
  return found;
}

function siteRow(header: readonly string[], line: string): Usage[] {
  const fields = line.split(/\s{2,}/);
  const at = (name: string): string => fields[header.indexOf(name)] ?? '';
  const usage = sizeOf(at('usage'));
  const limit = sizeOf(at('quota'));
  return usage === null || limit === null ? [] : [{ measurement: at('Filesystem'), usage, limit }];
}

/** The limit that is enforced, else the soft one. Grace times are left out where there are none, or stand there as text. */
function linuxRow(line: string): Usage[] {
  const [measurement = '', ...words] = line.split(/\s+/);
  const [blocks, soft, hard] = words.map(numberOf);
  if (blocks == null || soft == null || hard == null) return [];
  const space = { measurement, usage: blocks * 1024, limit: (hard || soft) * 1024 };
  const grace = words.length === 8 || numberOf(words[3] ?? '') === null ? 1 : 0;
  const [files, softFiles, hardFiles] = words.slice(3 + grace).map(numberOf);
  if (files == null) return [space];
  return [space, { measurement: filesOf(measurement), usage: files, limit: hardFiles || softFiles || 0 }];
}

/** Two figures of one file system; a long name stands on a line of its own. */
export function parseLustreQuota(text: string): Usage[] {
  const lines = text.split('\n').map((line) => line.trim());
  const header = lines.findIndex((line) => /^Filesystem\s+kbytes\b/.test(line));
  if (header === -1) return [];
  const [measurement = '', ...words] = lines
    .slice(header + 1)
    .join(' ')
    .split(/\s+/);
  const [kbytes, , limit, , files, , filesLimit] = words.map(numberOf);
  if (kbytes == null || limit == null || files == null || filesLimit == null) return [];
  return [
    { measurement, usage: kbytes * 1024, limit: limit * 1024 },
    { measurement: filesOf(measurement), usage: files, limit: filesLimit },
  ];
}

/** The columns that `parseDf` reads; the mount point last, since it may hold blanks. */
export const DF_ARGS = ['-B1', '--output=used,avail,iused,itotal,target', '--'] as const;

/** The limit is what this user may fill: what only root may use is no room. */
export function parseDf(text: string): Usage[] {
  return text.split('\n').flatMap((line) => {
    const found = /^\s*(\d+|-)\s+(\d+|-)\s+(\d+|-)\s+(\d+|-)\s+(\/.*)$/.exec(line);
    if (found === null) return [];
    const [used = 0, free = 0, files = 0, inodes = 0] = found.slice(1, 5).map((word) => numberOf(word) ?? 0);
    const measurement = found[5] ?? '';
    const space = { measurement, usage: used, limit: used + free };
    // File systems that make inodes as they need them state none.
    return inodes === 0
      ? [space]
      : [space, { measurement: filesOf(measurement), usage: files, limit: inodes }];
  });
}

/** `2048`, `2048*` (exceeded), `[2048*]` (not sure), `-`. Null: no number. */
function numberOf(word: string): number | null {
  const bare = word.replace(/^\[|[\]*]+$/g, '');
  if (bare === '-') return 0;
  return /^\d+$/.test(bare) ? Number(bare) : null;
}

/** `4.0G`, `100`, `1.5T*`: powers of 1024. Null: no size. */
function sizeOf(word: string): number | null {
  const bare = word.trim().replace(/\*+$/, '');
  if (bare === '-') return 0;
  const found = /^(\d+(?:\.\d+)?)\s*([KMGTPE]?)(?:i?B)?$/i.exec(bare);
  if (found === null) return null;
  const power = ' KMGTPE'.indexOf((found[2] ?? '').toUpperCase() || ' ');
  return Math.round(Number(found[1]) * 1024 ** power);
}
