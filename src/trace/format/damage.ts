import type { Damage } from './merge.ts';

/** Damages kept one by one; more are only counted. */
const KEPT = 1000;

/** Damages of a file, each once: every CPU's walk through the file meets the same ones. */
export class DamageList {
  readonly list: Damage[] = [];
  private readonly seen = new Set<string>();
  /** All damages, also those past what `list` keeps. */
  count = 0;

  add(damage: Damage): void {
    const key = `${damage.offset} ${damage.message}`;
    if (this.seen.has(key)) return;
    this.count++;
    if (this.list.length >= KEPT) return;
    this.seen.add(key);
    this.list.push(damage);
  }
}
