/**
 * A vCPU in 32-bit protected mode, ring 0, without paging: a GDT to choose segments from, an IDT whose every gate leads to a VMCALL,
 * and a TSS with a ring 0 stack. For tests of segments: their sizes, bases, limits and privileges.
 */
import { gva } from '../../src/base/address.ts';
import { type ExitReason, Reg, Seg } from '../../src/cpu/interface.ts';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import { TestMachine } from './machine.ts';

const GDT = 0x1000;
const IDT = 0x2000;
const STUBS = 0x3000;
const TSS = 0x4000;
const STUB_STRIDE = 8;
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);
const VMCALL = [0x0f, 0x01, 0xc1];

export const CODE = 0x10000;
export const DATA = 0x20000;
export const STACK = 0x40000;
/** The frame that a fault from ring 3 leaves lies on this stack. */
export const RING0_STACK = 0x6000;

/** Selectors of the GDT. All are flat but those whose base and limit the name says. */
export const Selector = {
  code: 0x08,
  data: 0x10,
  userCode: 0x1b,
  userData: 0x23,
  tss: 0x28,
  /** Set by the test. */
  free: 0x30,
  otherFree: 0x38,
} as const;

export interface SegmentDescriptor {
  base: number;
  /** In bytes; beyond 1 MiB it must be one that page granularity can say. */
  limit: number;
  /** Type, S, DPL and P, as in a descriptor's third byte of the high half. */
  access: number;
  /** D/B: 32-bit. */
  big: boolean;
}

/** An 8-byte descriptor (SDM vol. 3A, figure 3-8). */
function descriptor({ base, limit, access, big }: SegmentDescriptor): bigint {
  const pages = limit > 0xfffff;
  const low = pages ? limit >>> 12 : limit;
  return (
    BigInt(low & 0xffff) |
    (BigInt(base & 0xffffff) << 16n) |
    (BigInt(access) << 40n) |
    (BigInt(((low >> 16) & 15) | (big ? 0x40 : 0) | (pages ? 0x80 : 0)) << 48n) |
    (BigInt(base >>> 24) << 56n)
  );
}

/** VMCS form of the same, for a segment register. */
const rights = ({ access, big, limit }: SegmentDescriptor): number =>
  access | (big ? 0x4000 : 0) | (limit > 0xfffff ? 0x8000 : 0);

const flat = (access: number): SegmentDescriptor => ({ base: 0, limit: 0xffffffff, access, big: true });

export interface Trapped {
  vector: number;
  errorCode: number;
  eip: number;
  cs: number;
}

export class ProtectedMode extends TestMachine {
  constructor(compile?: CompilePolicy) {
    super(1024, compile);
    this.reset();
  }

  /** As it was in the beginning, but for memory that tests wrote. */
  reset(): void {
    this.vcpu.reset();
    const r = this.vcpu.registers;
    this.define(Selector.code, flat(0x9b));
    this.define(Selector.data, flat(0x93));
    this.define(Selector.userCode, flat(0xfb));
    this.define(Selector.userData, flat(0xf3));
    for (let vector = 0; vector < 256; vector++) {
      const stub = STUBS + vector * STUB_STRIDE;
      this.write(stub, Uint8Array.from(VMCALL));
      this.writeU64(IDT + vector * 8, BigInt(stub) | (BigInt(Selector.code) << 16n) | (0x8en << 40n));
    }
    this.writeU32(TSS + 4, RING0_STACK);
    this.writeU32(TSS + 8, Selector.data);
    r.efer = 0;
    r.cr4 = 0x600;
    r.cr0 = 0x31;
    r.gdtrBase = BigInt(GDT);
    r.gdtrLimit = 0xff;
    r.idtrBase = BigInt(IDT);
    r.idtrLimit = 0x7ff;
    r.setSegment(Seg.tr, { selector: Selector.tss, base: BigInt(TSS), limit: 0x67, accessRights: 0x8b });
    r.setSegment(Seg.ldtr, { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 });
    this.use(Seg.cs, Selector.code, flat(0x9b));
    for (const seg of [Seg.ss, Seg.ds, Seg.es, Seg.fs, Seg.gs]) this.use(seg, Selector.data, flat(0x93));
  }

  /** Puts a descriptor into the GDT. */
  define(selector: number, segment: SegmentDescriptor): void {
    this.writeU64(GDT + (selector & ~7), descriptor(segment));
  }

  /** Loads a segment register as if from this descriptor. */
  use(seg: number, selector: number, segment: SegmentDescriptor): void {
    this.vcpu.registers.setSegment(seg, {
      selector,
      base: BigInt(segment.base),
      limit: segment.limit,
      accessRights: rights(segment),
    });
  }

  useNull(seg: number): void {
    this.vcpu.registers.setSegment(seg, { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 });
  }

  /** Places code with a VMCALL behind it at linear address `at`; EIP counts from CS's base. */
  load(code: Uint8Array, registers: Partial<Record<keyof typeof Reg, number>> = {}, at = CODE): void {
    this.write(at, Uint8Array.from([...code, ...VMCALL]));
    const r = this.vcpu.registers;
    r.rip = gva(BigInt(at) - r.getSegment(Seg.cs).base);
    r.rflags = 2;
    r.setGpr(Reg.rsp, BigInt(STACK));
    for (const [name, value] of Object.entries(registers)) r.setGpr(Reg[name as keyof typeof Reg], BigInt(value >>> 0));
  }

  run(): ExitReason {
    return this.vcpu.run(10_000);
  }

  gpr(name: keyof typeof Reg): number {
    return Number(this.vcpu.registers.getGpr(Reg[name]));
  }
  selector(seg: number): number {
    return this.vcpu.registers.getSegment(seg).selector;
  }

  /** After a VMCALL: the exception whose gate led there, or undefined when the code itself reached its end. */
  trapped(): Trapped | undefined {
    const at = Number(this.vcpu.exit.rip) - STUBS;
    if (this.selector(Seg.cs) !== Selector.code || at < 0 || at >= 256 * STUB_STRIDE) return undefined;
    const vector = at / STUB_STRIDE;
    const { base, accessRights } = this.vcpu.registers.getSegment(Seg.ss);
    let frame = Number(base) + (accessRights & 0x4000 ? this.gpr('rsp') : this.gpr('rsp') & 0xffff);
    let errorCode = 0;
    if (WITH_ERROR_CODE.has(vector)) {
      errorCode = this.readU32(frame);
      frame += 4;
    }
    return { vector, errorCode, eip: this.readU32(frame), cs: this.readU32(frame + 4) & 0xffff };
  }
}
