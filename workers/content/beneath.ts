import { closeSync, constants, openSync } from 'node:fs';
import { fsPath } from './path.ts';

/** Not among Node's constants: a folder as a place to start from, for which it need not be readable. */
const O_PATH = 0o10000000;
const AS_PLACE = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;

const PATH_MAX = 4096;

/**
 * Paths below a folder that others write to, by which no call leaves that folder. Whoever owns a tree may swap one of its
 * folders for a link to somebody else's between two calls; a whole path would then lead there, and O_NOFOLLOW looks at its
 * last name only. Node has no openat(2), but the kernel takes an open folder as the beginning of a path: each folder on
 * the way is opened through the one above it, never through a link, and what is then asked of a name is asked of that
 * very folder. An lstat costs 1.4 µs more than by its path.
 *
 * The folders on the way to the last path stay open, so paths should come in the order of a walk.
 */
export class Beneath {
  readonly #root: string;
  readonly #names: string[] = [];
  /** Of the root, and of each of the names. */
  readonly #open: number[] = [];
  /** The folder that is open last, as a path below the root. */
  #folder = '.';

  /** @param root a real path */
  constructor(root: string) {
    this.#root = root;
    this.#open.push(openSync(root, AS_PLACE));
  }

  /**
   * What `fs` calls take for this path. Good until the next one is asked for; a call must not follow its last name.
   * @throws ENOTDIR when a folder on the way has become a link
   */
  at(path: string): string | Buffer {
    if (path === '.') return this.#place(0);
    const cut = path.lastIndexOf('/');
    const folder = cut === -1 ? '.' : path.slice(0, cut);
    if (folder !== this.#folder) this.#enter(folder);
    this.#assertShort(path);
    return this.#entry(path.slice(cut + 1));
  }

  /** As {@link at}, of a folder itself: for what would follow its last name. @throws ENOTDIR when it is a link by now */
  folder(path: string): string {
    if (path !== this.#folder) this.#enter(path);
    return this.#place(this.#names.length);
  }

  /** An error of a call on such a path tells the path that people know. */
  named(error: unknown, path: string): NodeJS.ErrnoException {
    const failure = error as NodeJS.ErrnoException;
    if (!failure.message.includes("'/proc/self/fd/")) return failure;
    const full = path === '.' ? this.#root : `${this.#root}/${path}`;
    failure.message = failure.message.replace(/'\/proc\/self\/fd\/[^]*'/, () => `'${full}'`);
    failure.path = full;
    return failure;
  }

  close(): void {
    for (const fd of this.#open.splice(0)) closeSync(fd);
    this.#names.length = 0;
  }

  #place = (depth: number): string => `/proc/self/fd/${this.#open[depth]}`;

  /** Of the folder that is open last. */
  #entry(name: string): string | Buffer {
    if (name === '' || name === '.' || name === '..')
      throw Object.assign(new Error(`ENOTDIR: "${name}" is no name below ${this.#root}`), {
        code: 'ENOTDIR',
      });
    return fsPath(`${this.#place(this.#names.length)}/${name}`);
  }

  #enter(folder: string): void {
    const wanted = folder === '.' ? [] : folder.split('/');
    let shared = 0;
    while (shared < wanted.length && this.#names[shared] === wanted[shared]) shared += 1;
    this.#names.length = shared;
    for (const fd of this.#open.splice(shared + 1)) closeSync(fd);
    // Known even when the next one cannot be opened.
    this.#folder = shared === 0 ? '.' : wanted.slice(0, shared).join('/');
    for (const name of wanted.slice(shared)) {
      this.#open.push(openSync(this.#entry(name), AS_PLACE));
      this.#names.push(name);
      this.#folder = this.#names.join('/');
    }
  }

  /** What is beyond it the kernel would find this way, and no program that is given the path. */
  #assertShort(path: string): void {
    if ((this.#root.length + path.length) * 3 < PATH_MAX) return;
    const length = Buffer.byteLength(this.#root) + Buffer.byteLength(fsPath(path)) + 2;
    if (length <= PATH_MAX) return;
    const failure = new Error(`ENAMETOOLONG: name too long, '${this.#root}/${path}'`);
    throw Object.assign(failure, { code: 'ENAMETOOLONG', path: `${this.#root}/${path}` });
  }
}
