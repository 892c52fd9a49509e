/** The links of a bundle, made when all its files stand: none of them may lead out of the dataset. */
import { linkSync, lstatSync, lutimesSync, readlinkSync, symlinkSync, unlinkSync } from 'node:fs';
import type { DeferredEntry } from '../deferred.ts';
import { decodePath, fsPath, leadsOut, linkEscapes, unsafe } from '../path.ts';
import { settable } from '../times.ts';
import type { Places } from './places.ts';

const ABSENT = 'is a hard link to a file that the bundle does not hold';
export const TWICE = 'stands twice in it';

/** See the constructor of TreeWriter. */
interface How {
  readonly adopt: boolean;
  readonly replace: boolean;
  /** One took the place of the same link. */
  onReplaced(): void;
}

export class Links {
  readonly #places: Places;
  readonly #how: How;
  /** Where the dataset begins in an untrusted bundle; null: the manifest proves the links. */
  readonly #dataset: string | null;

  constructor(places: Places, dataset: string | null, how: How) {
    this.#places = places;
    this.#dataset = dataset;
    this.#how = how;
  }

  /** False: a hard link to what is not there; it may be a symbolic link that is yet to be made. */
  make(entry: DeferredEntry): boolean {
    const target = entry.target ?? '';
    if (entry.kind === 'symbolic link') this.#assertInside(entry.path, target);
    const full = this.#places.at(entry.path);
    try {
      this.#places.within(entry.path, () => {
        if (this.#how.adopt && lstatSync(full, { throwIfNoEntry: false })?.isDirectory() === false)
          unlinkSync(full);
        if (entry.kind === 'symbolic link') symlinkSync(fsPath(target), full);
        else linkSync(this.#places.at(target), full);
      });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST' && this.#repeats(entry, full)) {
        if (!this.#how.replace) throw unsafe(entry.path, TWICE);
        this.#how.onReplaced();
        return true;
      }
      if (code === 'EEXIST') throw unsafe(entry.path, `is a ${entry.kind} where another member stands`);
      if (code === 'ENOENT' && entry.kind === 'hard link') return false;
      if (code === 'EPERM' && lstatSync(this.#places.at(target)).isDirectory())
        throw unsafe(entry.path, 'is a hard link to a directory');
      throw error;
    }
    if (entry.kind === 'symbolic link') lutimesSync(full, settable(entry.mtime), settable(entry.mtime));
    return true;
  }

  /** A name more of a symbolic link, as GNU tar and bsdtar store one: from its own place it must not lead out either. */
  makeOfLink(entry: DeferredEntry): void {
    const text = this.#linkText(entry.target ?? '');
    if (text === null) throw unsafe(entry.path, ABSENT);
    this.#assertInside(entry.path, text);
    if (!this.make(entry)) throw unsafe(entry.path, ABSENT);
  }

  #assertInside(path: string, target: string): void {
    const above = this.#dataset;
    if (above !== null && linkEscapes(above === '.' ? path : path.slice(above.length + 1), target))
      throw leadsOut(path, target);
  }

  /** Where a symbolic link leads; null: there is none, or only by way of another one. */
  #linkText(path: string): string | null {
    const names = path.split('/');
    for (let count = 1; count < names.length; count++) {
      const folder = this.#places.at(names.slice(0, count).join('/'));
      if (lstatSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) return null;
    }
    const full = this.#places.at(path);
    if (lstatSync(full, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return null;
    return decodePath(readlinkSync(full, { encoding: 'buffer' }));
  }

  /** A link that was appended once more, as when the same folder is added to a tar twice. */
  #repeats(entry: DeferredEntry, full: string | Buffer): boolean {
    const target = fsPath(entry.target ?? '');
    const standing = lstatSync(full);
    if (entry.kind === 'hard link')
      return standing.ino === lstatSync(this.#places.at(entry.target ?? '')).ino;
    return (
      standing.isSymbolicLink() && readlinkSync(full, { encoding: 'buffer' }).equals(Buffer.from(target))
    );
  }
}
