/**
 * A vCPU with guest memory and nothing else, for tests: frames of guest RAM scattered in machine memory, a p2m that
 * tests can change, and no device. What leaves as an exit is up to the test.
 */
import { type Gfn, type Mfn, PAGE_SIZE, gfn, maddr, mfn } from '../../src/base/address.ts';
import { NPT_EXECUTE, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE, type NestedPaging, type Vcpu } from '../../src/cpu/interface.ts';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import { createVcpu, ENGINE_PAGES } from './engine.ts';

export { PageTables, Pte } from '../../src/cpu/testing/page-tables.ts';

export const ALL = NPT_READ | NPT_WRITE | NPT_EXECUTE;

export class TestMachine implements NestedPaging {
  readonly memory: WebAssembly.Memory;
  readonly vcpu: Vcpu;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  private readonly entries: Int32Array;
  private readonly firstFrame: number;
  private readonly frames: number;
  /** gfns asked for, while a test listens. */
  lookups: number[] | undefined;

  /** `pages` of guest RAM from gfn 0. `compile`: what the vCPU compiles, where the test says. */
  constructor(pages: number, compile?: CompilePolicy) {
    const total = ENGINE_PAGES + pages;
    const wasmPages = Math.ceil((total * PAGE_SIZE) / 65536);
    this.memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.firstFrame = ENGINE_PAGES;
    this.frames = pages;
    this.entries = new Int32Array(Math.max(pages, 0x100000));
    for (let i = 0; i < pages; i++) this.entries[i] = (this.mfnOf(gfn(i)) << NPT_MFN_SHIFT) | ALL;
    this.vcpu = createVcpu(this.memory, this, compile);
  }

  /** Frame of a gfn: never the identity, never in order. */
  mfnOf(frame: Gfn): Mfn {
    return mfn(this.firstFrame + this.frames - 1 - frame);
  }

  lookup(frame: Gfn): number {
    this.lookups?.push(frame);
    return frame < this.entries.length ? (this.entries[frame] ?? 0) : 0;
  }

  /** Changes the p2m entry of a gfn: permissions (0: no frame there), and which gfn's frame it shows. */
  setEntry(frame: Gfn, permissions: number, showing: Gfn = frame): void {
    this.entries[frame] = permissions === 0 ? 0 : (this.mfnOf(showing) << NPT_MFN_SHIFT) | permissions;
    this.vcpu.invalidateNested(frame);
  }

  /** Machine address of a guest-physical address in RAM. */
  maddr(gpa: number): number {
    return maddr(this.mfnOf(gfn(Math.floor(gpa / PAGE_SIZE))) * PAGE_SIZE + (gpa % PAGE_SIZE));
  }

  /** Writes RAM as a loader does: pages need not be neighbours in machine memory. */
  write(gpa: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const at = gpa + done;
      const part = Math.min(data.length - done, PAGE_SIZE - (at % PAGE_SIZE));
      this.bytes.set(data.subarray(done, done + part), this.maddr(at));
      this.vcpu.invalidateCode(this.mfnOf(gfn(Math.floor(at / PAGE_SIZE))));
      done += part;
    }
  }

  read(gpa: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
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
