/** States of a machine on its way, each page kept once however many states hold it. */
import xxhash from 'xxhash-wasm';
import { PAGE_SIZE } from '../base/address.ts';
import type { InlineMachine } from '../machine/machine.ts';
import { keptPages } from '../machine/state/image.ts';
import type { MachineState, Position } from '../machine/state/machine-state.ts';

interface Kept {
  readonly state: Omit<MachineState, 'image'>;
  readonly memorySize: number;
  readonly pages: Uint32Array;
  readonly contents: readonly Page[];
}

interface Page {
  readonly hash: bigint;
  readonly bytes: Uint8Array;
  /** States that hold it. */
  users: number;
}

/** Bytes of pages from which on every other state is given up. */
const LIMIT = 200 << 20;

type Hash = Awaited<ReturnType<typeof xxhash>>['h64Raw'];

export const positionBefore = (a: Position, b: Position): boolean =>
  a.instructions !== b.instructions ? a.instructions < b.instructions : a.exits !== b.exits ? a.exits < b.exits : a.ns < b.ns;

export class History {
  private readonly hash: Hash;
  private readonly store = new Map<bigint, Page>();
  /** In the order of their positions. */
  private states: Kept[] = [];

  private constructor(hash: Hash) {
    this.hash = hash;
  }

  static async create(): Promise<History> {
    return new History((await xxhash()).h64Raw);
  }

  /** Bytes of all pages kept. */
  get bytes(): number {
    return this.store.size * PAGE_SIZE;
  }

  get positions(): readonly Position[] {
    return this.states.map(({ state }) => state.position);
  }

  /** Keep the state in which the machine is, unless one of the same place is kept. */
  keep(machine: InlineMachine): void {
    const state = machine.saveParts();
    const at = this.states.findIndex((kept) => !positionBefore(kept.state.position, state.position));
    if (at >= 0 && !positionBefore(state.position, this.states[at]!.state.position)) return;
    const { memory } = machine;
    const pages = keptPages(memory);
    const contents = Array.from(pages, (page) => {
      const bytes = memory.u8.slice(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      const hash = this.hash(bytes);
      let found = this.store.get(hash);
      if (found === undefined) this.store.set(hash, (found = { hash, bytes, users: 0 }));
      found.users++;
      return found;
    });
    this.states.splice(at < 0 ? this.states.length : at, 0, { state, memorySize: memory.layout.size, pages, contents });
    if (this.bytes > LIMIT) this.thin();
  }

  /** Forget all states: the machine is no longer of their run. */
  clear(): void {
    this.states = [];
    this.store.clear();
  }

  /** The last state that is not behind a place. */
  notBehind(place: Position): number {
    let found = 0;
    for (let i = 1; i < this.states.length && !positionBefore(place, this.states[i]!.state.position); i++) found = i;
    return found;
  }

  /** The last state before a place, or the first of all. `reached` tells whether a place has come to the one wanted. */
  before(reached: (position: Position) => boolean): number {
    let found = 0;
    for (let i = 1; i < this.states.length && !reached(this.states[i]!.state.position); i++) found = i;
    return found;
  }

  /** The state as a machine takes it. */
  stateAt(index: number): MachineState {
    const { state, memorySize, pages, contents } = this.states[index]!;
    const data = new Uint8Array(pages.length * PAGE_SIZE);
    contents.forEach(({ bytes }, i) => data.set(bytes, i * PAGE_SIZE));
    return { ...state, image: { memorySize, pages, data } };
  }

  /** Every other state goes, but for the first and the last. */
  private thin(): void {
    this.states = this.states.filter(({ contents }, i) => {
      if (i === 0 || i === this.states.length - 1 || i % 2 === 0) return true;
      for (const page of contents) if (--page.users === 0) this.store.delete(page.hash);
      return false;
    });
  }
}
