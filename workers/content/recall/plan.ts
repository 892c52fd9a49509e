import { type ManifestMember, ManifestReader } from '../manifest.ts';
import type { Asked } from './paths.ts';
import { BLOCK } from '../tar/header.ts';

/** A member that was asked for. */
export interface Piece {
  /** Of its line in the manifest, from 0. */
  readonly index: number;
  readonly member: ManifestMember;
  /** Its data in the bundle, empty where it has none. Of a sparse file the manifest says only where it starts: `end` is where it ends at the latest. */
  readonly start: number;
  readonly end: number;
}

/** Files that lie close enough together to be fetched in one go. */
export interface Range {
  start: number;
  end: number;
  readonly pieces: Piece[];
}

/**
 * What may lie between the files of one range, in all: headers and files that nobody asked for. Below it another request
 * costs more than the bytes; and it bounds what a recall reads beyond what it was asked for.
 */
export const MAX_SLACK_BYTES = 1024 * 1024;

/** The asked members in the manifest's order, which is the bundle's but for hard links. @throws E_BUNDLE_CORRUPT */
export function* askedPieces(manifest: string, asked: Asked): Generator<Piece, void, undefined> {
  const reader = new ManifestReader(manifest);
  // Sparse files that wait for the next member to say where they end.
  let open: Piece[] = [];
  try {
    let index = 0;
    for (let member = reader.next(); member !== null; member = reader.next()) {
      const { offset } = member;
      if (open[0] !== undefined && offset !== undefined && offset > open[0].start) {
        yield* open.map((piece) => ({ ...piece, end: offset - BLOCK }));
        open = [];
      }
      if (asked.matches(member)) {
        const piece = pieceOf(member, index);
        if (member.sparse === true) open.push(piece);
        else yield piece;
      }
      index += 1;
    }
    const end = reader.trailer.bundle.size - 2 * BLOCK;
    yield* open.map((piece) => ({ ...piece, end }));
  } finally {
    reader.close();
  }
}

function pieceOf(member: ManifestMember, index: number): Piece {
  const start = member.type === 'file' ? (member.offset ?? 0) : 0;
  return { index, member, start, end: member.type === 'file' ? start + member.size : start };
}

/** Null when the range would grow too wide by it, or the piece lies before its end. */
function widened(range: Range, piece: Piece, slack: number): number | null {
  const gap = piece.start - range.end;
  return gap < 0 || slack + gap > MAX_SLACK_BYTES ? null : slack + gap;
}

/** Ranges as they are complete. Pieces without data are given one by one before the range that they lie in. */
export function* rangesOf(pieces: Iterable<Piece>): Generator<Range | Piece, void, undefined> {
  let range: Range | null = null as Range | null;
  let slack = 0;
  for (const piece of pieces) {
    if (piece.end === piece.start) {
      yield piece;
      continue;
    }
    const wider = range === null ? null : widened(range, piece, slack);
    if (range !== null && wider !== null) {
      range.pieces.push(piece);
      range.end = piece.end;
      slack = wider;
      continue;
    }
    if (range !== null) yield range;
    range = { start: piece.start, end: piece.end, pieces: [piece] };
    slack = 0;
  }
  if (range !== null) yield range;
}
