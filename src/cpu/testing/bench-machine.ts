/**
 * The least machine around a vCPU for specs: guest RAM as frames scattered by a fixed permutation (GFN is never MFN),
 * page tables, a GDT, and code in 64-bit mode at CPL 0.
 */
import { maddr, type Gfn } from '../../base/address.ts';
import { Engine } from '../run/engine.ts';
import { NPT_EXECUTE, NPT_MFN_SHIFT, NPT_READ, NPT_WRITE, Seg, type NestedPaging } from '../interface.ts';
import { PageTables, Pte, type GuestMemory } from './page-tables.ts';

const MEMORY_PAGES = 1024; // 64 MiB
const AREA = { base: maddr(1 << 20), size: 24 << 20 };
const FIRST_FRAME = (32 << 20) / 4096;
const GUEST_FRAMES = 4096;

export const CODE_GPA = 0x10000;
const STACK_TOP = 0x80000;
export const DATA_GPA = 0x100000;

export class BenchMachine implements NestedPaging, GuestMemory {
  readonly memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared: true });
  readonly u8 = new Uint8Array(this.memory.buffer);
  readonly view = new DataView(this.memory.buffer);
  readonly permissions = new Uint8Array(GUEST_FRAMES).fill(NPT_READ | NPT_WRITE | NPT_EXECUTE);
  readonly vcpu: Engine;
  tsc = 0;

  constructor() {
    this.vcpu = new Engine({ memory: this.memory, area: AREA, nestedPaging: this, readTsc: () => this.tsc });
  }

  /** An odd multiplier makes a permutation of the frames without fixed points or runs. */
  mfnOf(gfn: number): number {
    return FIRST_FRAME + ((gfn * 1021 + 517) % GUEST_FRAMES);
  }

  lookup(gfn: Gfn): number {
    if (gfn >= GUEST_FRAMES || !this.permissions[gfn]) return 0;
    return (this.mfnOf(gfn) << NPT_MFN_SHIFT) | this.permissions[gfn]!;
  }

  maddrOf(gpa: number): number {
    return this.mfnOf(gpa >> 12) * 4096 + (gpa & 0xfff);
  }

  write(gpa: number, bytes: Uint8Array | readonly number[]): void {
    for (let i = 0; i < bytes.length; i++) this.u8[this.maddrOf(gpa + i)] = bytes[i]!;
  }
  writeU32(gpa: number, value: number): void {
    this.view.setUint32(this.maddrOf(gpa), value, true);
  }
  writeU64(gpa: number, value: bigint): void {
    this.view.setBigUint64(this.maddrOf(gpa), value, true);
  }
  readU64(gpa: number): bigint {
    return this.view.getBigUint64(this.maddrOf(gpa), true);
  }
  readU32(gpa: number): number {
    return this.view.getUint32(this.maddrOf(gpa), true);
  }

  /** 64-bit mode with 4 KiB identity pages (guest-linear = guest-physical) over the first 16 MiB, tables from 0x1000. */
  enterLongMode(code: readonly number[] | Uint8Array): void {
    const tables = new PageTables(this, 0x1000, 11);
    for (let gpa = 0; gpa < 8 * 512 * 4096; gpa += 4096) tables.map(BigInt(gpa), gpa, Pte.write | Pte.user);
    const { registers: r } = this.vcpu;
    r.cr3 = BigInt(tables.root);
    r.cr4 = 0x620;
    r.efer = 0xd01;
    r.cr0 = 0x80010033;
    r.setSegment(Seg.cs, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xa09b });
    for (const seg of [Seg.ss, Seg.ds, Seg.es])
      r.setSegment(seg, { selector: 16, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
    r.setGpr(4, BigInt(STACK_TOP));
    r.rip = BigInt(CODE_GPA) as typeof r.rip;
    this.write(CODE_GPA, code);
  }
}
