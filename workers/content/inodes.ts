/**
 * Which inodes have been met, in 16 to 32 bytes each: a snapshot tree may hold a million files with a second name
 * elsewhere; as texts in a `Set` they took 150 MB, so they take 17.
 */
export class InodeSet {
  /** Of each device a table with open addressing; 0 is free, since no file system has an inode 0. */
  readonly #tables = new Map<bigint, { slots: BigUint64Array; used: number }>();

  /** False when it was there already. */
  add(dev: bigint, ino: bigint): boolean {
    let table = this.#tables.get(dev);
    if (table === undefined) {
      table = { slots: new BigUint64Array(1024), used: 0 };
      this.#tables.set(dev, table);
    }
    if (!place(table.slots, ino)) return false;
    table.used += 1;
    if (table.used * 2 > table.slots.length) table.slots = grown(table.slots);
    return true;
  }
}

function place(slots: BigUint64Array, ino: bigint): boolean {
  const mask = slots.length - 1;
  for (let at = scatter(ino) & mask; ; at = (at + 1) & mask) {
    const there = slots[at] as bigint;
    if (there === ino) return false;
    if (there !== 0n) continue;
    slots[at] = ino;
    return true;
  }
}

/** Neighbouring numbers, and those of one stride, would otherwise pile up in one part of the table. */
function scatter(ino: bigint): number {
  const low = Number(ino & 0xffff_ffffn);
  const high = Number((ino >> 32n) & 0xffff_ffffn);
  const mixed = Math.imul(low ^ Math.imul(high, 0x85eb_ca6b), 0x9e37_79b1);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

function grown(slots: BigUint64Array): BigUint64Array {
  const larger = new BigUint64Array(slots.length * 2);
  for (const ino of slots) if (ino !== 0n) place(larger, ino);
  return larger;
}
