/**
 * To find the holes of a large file its data are read once before they are packed. How far that had come is noted beside
 * the half bundle, so that neither the search nor the packing behind it begins again after a kill.
 *
 *     … {"path":…}                                  the file, and that nobody has written to it since
 *     … {"at":…,"parts":[…],"open":…}               what was found since the line before
 */
import { writeSmall } from '../files.ts';
import { appendLine, type FileIdentity, holesPath, lineOf, linesOf, MARK_MS } from './checkpoint.ts';
import type { FoundParts, HoleNotes } from '../tar/sparse.ts';

export function noteHoles(target: string, file: FileIdentity, every_bytes: number): HoleNotes {
  const path = holesPath(target);
  const before = noted(path, file);
  let last = { place: before?.at ?? 0, parts: before?.parts.length ?? 0, at: performance.now() };
  let begun = before !== null;
  return {
    before,
    offer: ({ at, parts, open }) => {
      const moved = at - last.place;
      const due = moved >= every_bytes || performance.now() - last.at >= MARK_MS;
      // The end too, where there is more to the search than may be done again.
      if (moved === 0 || !(due || (begun && at === file.size))) return;
      if (!begun) writeSmall(path, lineOf(file));
      begun = true;
      appendLine(path, { at, parts: parts.slice(last.parts), open });
      last = { place: at, parts: parts.length, at: performance.now() };
    },
  };
}

function noted(path: string, file: FileIdentity): FoundParts | null {
  const [head, ...lines] = linesOf(path) as [FileIdentity?, ...FoundParts[]];
  const end = lines.at(-1);
  if (end === undefined || JSON.stringify(head) !== JSON.stringify(file)) return null;
  return { ...end, parts: lines.flatMap(({ parts }) => parts) };
}
