/** Where the members of a bundle are made: below one root, their parents with them. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { LongshoreError } from '../../errors.ts';
import { fsPath, unsafe } from '../path.ts';
import { absolutePath } from '../walk.ts';

export class Places {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** As the file system takes it. */
  at(path: string): string | Buffer {
    return fsPath(absolutePath(this.#root, path));
  }

  parents(path: string): void {
    this.#refusing(path, () => {
      mkdirSync(this.at(dirname(path)), { recursive: true, mode: 0o755 });
    });
  }

  /** Runs `make`; when the parents are missing (a bundle without directory members), makes them and tries again. */
  within<T>(path: string, make: () => T): T {
    return this.#refusing(path, () => {
      try {
        return make();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        this.parents(path);
        return make();
      }
    });
  }

  /** Says of the bundle what the kernel says of a path. */
  #refusing<T>(path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOTDIR') throw unsafe(path, 'lies below a member that is no directory');
      if (code !== 'ENAMETOOLONG') throw error;
      throw new LongshoreError('E_BUNDLE_UNSAFE', `member "${path.slice(0, 200)}…" has too long a path`, {
        hint: `No name may have more than 255 bytes, no path more than 4095 with that of the folder it is staged in (${this.#root}). If only the path is too long, point the stage path to a shorter one, then stage again.`,
        cause: error,
      });
    }
  }
}
