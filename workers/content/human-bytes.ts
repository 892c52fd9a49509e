const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** `12.3 GiB`: binary, as `ls -h` and `du -h` count; the same in messages and in all that the commands print. */
export function humanBytes(value: number): string {
  let unit = 0;
  let shown = Math.abs(value);
  // 1023.96 KiB would print as 1024.0 KiB: the next unit takes over where rounding would.
  while (shown >= (unit === 0 ? 1024 : 1023.95) && unit < UNITS.length - 1) {
    shown /= 1024;
    unit += 1;
  }
  const text = unit === 0 ? String(Math.round(shown)) : shown.toFixed(shown < 99.95 ? 1 : 0);
  return `${value < 0 ? '-' : ''}${text} ${UNITS[unit] ?? ''}`;
}
