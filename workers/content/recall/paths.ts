import { posix } from 'node:path';
import picomatch from 'picomatch';
import { LongshoreError } from '../../errors.ts';
import type { ManifestMember } from '../manifest.ts';
import { ManifestReader } from '../manifest.ts';
import { editsBetween, slipsOf } from '../../near-name.ts';
import { shownPath } from '../path.ts';

/** Which members of a manifest somebody asked for. Asked in the manifest's order: a folder comes before what it holds. */
export interface Asked {
  matches(member: ManifestMember): boolean;
  /** Of what was asked, that which no member has matched so far. */
  missed(): string[];
}

/**
 * Paths are as `longshore manifest` shows them: relative, `.` for all, undecodable bytes as `\xNN`. A folder stands for
 * all below it. What reads like a glob is taken as one, and as a name too: a file may be called `a[1].txt`. Leading
 * dots are nothing special, since nobody wants all of a dataset but its hidden files.
 *
 * @throws E_RECALL for a path that leads out of the dataset
 */
export function createAsked(paths: readonly string[]): Asked {
  const wanted = paths.map((given) => ({ given, one: createPattern(askedPath(given)), met: false }));
  return {
    matches: ({ path }) => {
      const shown = shownPath(path);
      let any = false;
      for (const want of wanted) {
        if (!want.one(path, shown)) continue;
        want.met = true;
        any = true;
      }
      return any;
    },
    missed: () => wanted.filter(({ met }) => !met).map(({ given }) => given),
  };
}

function askedPath(given: string): string {
  const plain = posix.normalize(given).replace(/\/$/, '');
  if (given !== '' && !plain.startsWith('/') && plain !== '..' && !plain.startsWith('../'))
    return plain || '.';
  throw new LongshoreError('E_RECALL', `"${given}" is no path inside of a dataset`, {
    fields: { asked: given },
    hint: 'Give paths relative to the dataset, as `longshore manifest <dataset>` shows them; "." is all of it.',
  });
}

function createPattern(asked: string): (path: string, shown: string) => boolean {
  if (asked === '.') return () => true;
  const below = `${asked}/`;
  const named = (path: string): boolean => path === asked || path.startsWith(below);
  if (!/[*?[{]/.test(asked)) return (path, shown) => named(shown) || named(path);
  // As in a shell: `[!a]` is "not a", and parentheses are parts of names.
  const glob = picomatch(asked.replaceAll('[!', '[^').replace(/[()]/g, String.raw`\$&`), {
    dot: true,
    noextglob: true,
    nonegate: true,
  });
  let folder: string | null = null;
  return (path, shown) => {
    // Members come depth first, so what follows a folder that matched is in it until a name is not.
    if (folder !== null && shown.startsWith(folder)) return true;
    if (named(shown) || named(path)) return true;
    if (shown === '.' || !glob(shown)) return false;
    folder = `${shown}/`;
    return true;
  };
}

const MOST_NEAR = 5;

/** Members with a name like the one that was asked for, the likest first. */
export function nearNames(manifest: string, asked: string): string[] {
  const wanted = posix.normalize(asked).toLowerCase();
  const name = posix.basename(wanted);
  const best: { path: string; distance: number }[] = [];
  const reader = new ManifestReader(manifest);
  for (const { path } of reader.members()) {
    const shown = shownPath(path);
    const distance = distanceOf(wanted, name, shown.toLowerCase());
    if (distance === null) continue;
    best.push({ path: shown, distance });
    best.sort((a, b) => a.distance - b.distance);
    best.length = Math.min(best.length, MOST_NEAR);
  }
  return best.map(({ path }) => path);
}

/** Null: nothing like it. In the same folder is nearer than elsewhere. */
function distanceOf(wanted: string, name: string, path: string): number | null {
  const own = path.slice(path.lastIndexOf('/') + 1);
  const elsewhere = path.slice(0, -own.length) === wanted.slice(0, -name.length) ? 0 : 0.5;
  if (own === name) return elsewhere;
  const most = slipsOf(name);
  if (Math.abs(own.length - name.length) <= most) {
    const edits = editsBetween(own, name);
    if (edits <= most) return edits + elsewhere;
  }
  return name.length >= 3 && own.includes(name) ? most + 1 + elsewhere : null;
}
