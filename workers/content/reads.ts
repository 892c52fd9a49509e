/** Finds the FASTQ files of a staged copy and gives each a sample name of its own. */
import { realpathSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import picomatch from 'picomatch';
import { isBelow } from '../dataset/paths.ts';
import { fsPath, shownPath } from './path.ts';
import { absolutePath, resolveRoot, walkTree } from './walk.ts';

export interface Reads {
  /** Absolute, links resolved. */
  readonly path: string;
  /** Unlike that of every other; FastQC names its results `<sample>_fastqc.zip`. */
  readonly sample: string;
  /** File name to pass it under, when its own would be taken for another file or misread; null: its own will do. */
  readonly link_name: string | null;
}

export interface FindReadsOptions {
  readonly root: string;
  /** On the path below the root; a leading dot is no exception. */
  readonly globs: readonly string[];
  readonly signal?: AbortSignal;
  onSkip?(path: string, why: string): void;
}

/** Files and links to files inside the tree, each file once. Empty files hold no reads and make FastQC fail. */
export function findReads(options: FindReadsOptions): Reads[] {
  const base = resolveRoot(options.root);
  const wanted = picomatch([...options.globs], { dot: true });
  const found = new Map<string, string>();
  for (const member of walkTree(base, options)) {
    if (member.type === 'directory' || !wanted(member.path)) continue;
    const path = absolutePath(base, member.path);
    const skip = (why: string): void => options.onSkip?.(shownPath(member.path), why);
    if (!member.path.isWellFormed()) skip('its name is no UTF-8 text');
    else if (member.type === 'file' && member.size > 0) found.set(path, member.path);
    else if (member.type === 'file') skip('it is empty');
    else if (member.type === 'symbolic link') {
      const target = fileBehind(path);
      if (target === null || !isBelow(base, target)) skip('it is a link to no file of the dataset');
      else if (!found.has(target) && statSync(fsPath(target)).size > 0) found.set(target, member.path);
    }
  }
  return nameSamples(found);
}

function fileBehind(path: string): string | null {
  try {
    const target = realpathSync(path);
    return statSync(target).isFile() ? target : null;
  } catch {
    return null; // It leads nowhere.
  }
}

/** As FastQC names its results. */
const sampleOf = (name: string): string =>
  name
    .replace(/\.gz$/, '')
    .replace(/\.bz2$/, '')
    .replace(/\.(fastq|fq)$/, '');

const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9._+=@-]*$/;

function nameSamples(found: ReadonlyMap<string, string>): Reads[] {
  const taken = new Set<string>();
  return [...found].map(([path, member]) => {
    const own = basename(path);
    if (PLAIN.test(own) && !taken.has(sampleOf(own))) {
      taken.add(sampleOf(own));
      return { path, sample: sampleOf(own), link_name: null };
    }
    const link_name = freeName(member, taken);
    taken.add(sampleOf(link_name));
    return { path, sample: sampleOf(link_name), link_name };
  });
}

/** The whole path below the root in one name, which tells a person where it came from; numbered when even that is taken. */
function freeName(member: string, taken: ReadonlySet<string>): string {
  const suffix = /\.(fastq|fq)(\.gz|\.bz2)?$/.exec(member)?.[0] ?? '.fastq.gz';
  const stem = (member.endsWith(suffix) ? member.slice(0, -suffix.length) : member)
    .replaceAll('/', '_')
    .replace(/[^A-Za-z0-9._+=@-]/g, '-')
    .replace(/^[^A-Za-z0-9_]/, '_')
    .slice(-150);
  for (let number = 1; ; number++) {
    const name = number === 1 ? stem : `${stem}_${number}`;
    if (!taken.has(name)) return `${name}${suffix}`;
  }
}
