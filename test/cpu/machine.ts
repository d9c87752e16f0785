/**
 * A vCPU with guest memory and nothing else, for tests: frames of guest RAM scattered in machine memory, a p2m that
 * tests can change, and no device. What leaves as an exit is up to the test.
 */
import { type Gfn, type Mfn, PAGE_SIZE, gfn, maddr, mfn } from '../../src/base/address.ts';
import { NPT_EXECUTE, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE, type NestedPaging, type Vcpu } from '../../src/cpu/interface.ts';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-loops.ts';
import { createVcpu, ENGINE_PAGES } from './engine.ts';

export const ALL = NPT_READ | NPT_WRITE | NPT_EXECUTE;

export class TestMachine implements NestedPaging {
  readonly memory: WebAssembly.Memory;
  readonly vcpu: Vcpu;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #entries: Int32Array;
  readonly #firstFrame: number;
  readonly #frames: number;
  /** gfns asked for, while a test listens. */
  lookups: number[] | undefined;

  /** `pages` of guest RAM from gfn 0. `compile`: what the vCPU compiles, where the test says. */
  constructor(pages: number, compile?: CompilePolicy) {
    const total = ENGINE_PAGES + pages;
    const wasmPages = Math.ceil((total * PAGE_SIZE) / 65536);
    this.memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.#firstFrame = ENGINE_PAGES;
    this.#frames = pages;
    this.#entries = new Int32Array(Math.max(pages, 0x100000));
    for (let i = 0; i < pages; i++) this.#entries[i] = (this.mfnOf(gfn(i)) << NPT_MFN_SHIFT) | ALL;
    this.vcpu = createVcpu(this.memory, this, compile);
  }

  /** Frame of a gfn: never the identity, never in order. */
  mfnOf(frame: Gfn): Mfn {
    return mfn(this.#firstFrame + this.#frames - 1 - frame);
  }

  lookup(frame: Gfn): number {
    this.lookups?.push(frame);
    return frame < this.#entries.length ? (this.#entries[frame] ?? 0) : 0;
  }

  /** Changes the p2m entry of a gfn: permissions (0: no frame there), and which gfn's frame it shows. */
  setEntry(frame: Gfn, permissions: number, showing: Gfn = frame): void {
    this.#entries[frame] = permissions === 0 ? 0 : (this.mfnOf(showing) << NPT_MFN_SHIFT) | permissions;
    this.vcpu.invalidateNested(frame);
  }

  /** Machine address of a guest-physical address in RAM. */
  maddr(gpa: number): number {
    return maddr(this.mfnOf(gfn(Math.floor(gpa / PAGE_SIZE))) * PAGE_SIZE + (gpa % PAGE_SIZE));
  }

  /** Writes RAM as a loader does: pages need not be neighbours in machine memory. */
  write(gpa: number, data: Uint8Array): void {
    for (let done = 0; done < data.length;) {
      const at = gpa + done;
      const part = Math.min(data.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      this.bytes.set(data.subarray(done, done + part), this.maddr(at));
      this.vcpu.invalidateCode(this.mfnOf(gfn(Math.floor(at / PAGE_SIZE))));
      done += part;
    }
  }

  read(gpa: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const at = gpa + done;
      const part = Math.min(length - done, PAGE_SIZE - (at % PAGE_SIZE));
      const from = this.maddr(at);
      out.set(this.bytes.subarray(from, from + part), done);
      done += part;
    }
    return out;
  }

  writeU64(gpa: number, value: bigint): void {
    this.view.setBigUint64(this.maddr(gpa), BigInt.asUintN(64, value), true);
  }

  readU64(gpa: number): bigint {
    return this.view.getBigUint64(this.maddr(gpa), true);
  }

  writeU32(gpa: number, value: number): void {
    this.view.setUint32(this.maddr(gpa), value, true);
  }

  readU32(gpa: number): number {
    return this.view.getUint32(this.maddr(gpa), true);
  }
}

/** Page-table entry bits (SDM vol. 3A table 4-20). */
export const Pte = { present: 1n, write: 2n, user: 4n, accessed: 0x20n, dirty: 0x40n, large: 0x80n, global: 0x100n, noExecute: 1n << 63n } as const;

/** Four-level page tables built in guest frames. */
export class PageTables {
  readonly root: number;
  #next: number;
  readonly #machine: TestMachine;
  readonly #limit: number;

  /** Tables take frames from gpa `first` on, at most `count`. */
  constructor(machine: TestMachine, first: number, count: number) {
    this.#machine = machine;
    this.#next = first;
    this.#limit = first + count * PAGE_SIZE;
    this.root = this.#take();
  }

  #take(): number {
    const page = this.#next;
    if (page >= this.#limit) throw new RangeError('no frame left for page tables');
    this.#next += PAGE_SIZE;
    this.#machine.write(page, new Uint8Array(PAGE_SIZE));
    return page;
  }

  /** Guest-physical address of the entry that maps `linear` at `level` (1 = PTE, 2 = PDE, …), made with its parents. */
  entry(linear: bigint, level = 1): number {
    let table = this.root;
    for (let at = 4; ; at--) {
      const index = Number((linear >> BigInt(12 + 9 * (at - 1))) & 0x1ffn);
      const slot = table + index * 8;
      if (at === level) return slot;
      let entry = this.#machine.readU64(slot);
      if (!(entry & Pte.present)) {
        entry = BigInt(this.#take()) | Pte.present | Pte.write | Pte.user;
        this.#machine.writeU64(slot, entry);
      }
      table = Number(entry & 0xffffffffff000n);
    }
  }

  map(linear: bigint, gpa: number, flags: bigint, level = 1): void {
    this.#machine.writeU64(this.entry(linear, level), BigInt(gpa) | flags | Pte.present | (level > 1 ? Pte.large : 0n));
  }
}
