/**
 * A vCPU in 64-bit mode, ring 0, for tests that look at exits: linear pages that show other guest-physical pages,
 * those in turn scattered frames, and an IDT whose every gate leads to a VMCALL.
 */
import { type Gfn, gfn, gva } from '../../src/base/address.ts';
import { type ExitReason, Reg, Seg } from '../../src/cpu/interface.ts';
import type { CompilePolicy } from '../../src/cpu/compiled/hot-code.ts';
import { assemble } from '../../src/machine/tiny-guest/assembler.ts';
import { PageTables, Pte, TestMachine } from './machine.ts';

const TABLES = 0x100000;
const IDT = 0x2000;
const STUBS = 0x3000;
const GDT = 0x1000;
const HANDLER_STACK = 0x5000;
const STUB_STRIDE = 8;
const KERNEL = 0xffffffff80000000n;
const WITH_ERROR_CODE = new Set([8, 10, 11, 12, 13, 14, 17]);

/** Linear addresses free for tests, and the guest-physical pages they show. None is the other. */
export const CODE = 0x400000n;
export const CODE_GPA = 0x20000;
export const DATA = 0x600000n;
export const DATA_GPA = 0x30000;
/** Pages of code and of data. */
const PAGES = 16;
const STACK = DATA + 0xf000n;

/** Machine code at CODE of instructions in Intel syntax, `;` between two. */
export const machineCode = (source: string): Uint8Array => assemble(64, Number(CODE), source.replaceAll(';', '\n'));

export interface Trapped {
  vector: number;
  errorCode: number;
  rip: bigint;
  cr2: bigint;
}

export class LongMode extends TestMachine {
  readonly tables: PageTables;

  constructor(compile?: CompilePolicy) {
    super(1024, compile);
    const r = this.vcpu.registers;
    this.tables = new PageTables(this, TABLES, 64);
    for (let gpa = 0x1000; gpa < 0x8000; gpa += 0x1000) this.tables.map(KERNEL + BigInt(gpa), gpa, Pte.write);
    for (let i = 0; i < PAGES; i++) {
      this.tables.map(CODE + BigInt(i * 0x1000), CODE_GPA + i * 0x1000, Pte.write | Pte.accessed | Pte.dirty);
      this.tables.map(DATA + BigInt(i * 0x1000), DATA_GPA + i * 0x1000, Pte.write | Pte.accessed | Pte.dirty);
    }
    this.writeU64(GDT + 8, 0x00af9b000000ffffn);
    this.writeU64(GDT + 16, 0x00cf93000000ffffn);
    for (let vector = 0; vector < 256; vector++) {
      const stub = KERNEL + BigInt(STUBS + vector * STUB_STRIDE);
      this.write(STUBS + vector * STUB_STRIDE, Uint8Array.from([0x0f, 0x01, 0xc1]));
      this.writeU64(
        IDT + vector * 16,
        (stub & 0xffffn) | (8n << 16n) | (1n << 32n) | (0x8en << 40n) | (((stub >> 16n) & 0xffffn) << 48n),
      );
      this.writeU64(IDT + vector * 16 + 8, stub >> 32n);
    }
    r.cr4 = 0x6a0;
    r.cr3 = BigInt(this.tables.root);
    r.efer = 0xd01;
    r.cr0 = 0x80010033;
    r.gdtrBase = KERNEL + BigInt(GDT);
    r.gdtrLimit = 23;
    r.idtrBase = KERNEL + BigInt(IDT);
    r.idtrLimit = 0xfff;
    const tss = 0x4000;
    this.writeU64(tss + 36, KERNEL + BigInt(HANDLER_STACK + 0x1000));
    r.setSegment(Seg.tr, { selector: 0x18, base: KERNEL + BigInt(tss), limit: 0x67, accessRights: 0x8b });
    r.setSegment(Seg.cs, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xa09b });
    for (const seg of [Seg.ss, Seg.ds, Seg.es, Seg.fs, Seg.gs])
      r.setSegment(seg, { selector: 16, base: 0n, limit: 0xffffffff, accessRights: 0xc093 });
  }

  /** Guest frame behind a data page. */
  dataGfn(page: number): Gfn {
    return gfn(DATA_GPA / 0x1000 + page);
  }

  /** Takes the frame of a data page away: accesses leave as EPT violations. */
  makeMmio(page: number): void {
    this.setEntry(this.dataGfn(page), 0);
  }

  /** Places the instructions of `source` (Intel syntax, `;` between two) as `load` does. */
  assemble(source: string, registers: Partial<Record<keyof typeof Reg, bigint>> = {}): void {
    this.place(machineCode(`${source}; vmcall`), registers);
  }

  /** Places code (hex) with a VMCALL behind it and points RIP at it. */
  load(code: string, registers: Partial<Record<keyof typeof Reg, bigint>> = {}): void {
    this.place(Buffer.from(`${code.replaceAll(' ', '')}0f01c1`, 'hex'), registers);
  }

  private place(code: Uint8Array, registers: Partial<Record<keyof typeof Reg, bigint>>): void {
    this.write(CODE_GPA, code);
    const r = this.vcpu.registers;
    r.rip = gva(CODE);
    r.rflags = 2;
    r.setGpr(Reg.rsp, STACK);
    for (const [name, value] of Object.entries(registers)) r.setGpr(Reg[name as keyof typeof Reg], value);
  }

  run(): ExitReason {
    return this.vcpu.run(10_000);
  }

  gpr(name: keyof typeof Reg): bigint {
    return this.vcpu.registers.getGpr(Reg[name]);
  }

  /** After a VMCALL: the exception whose gate led there, or undefined when the code itself reached its end. */
  trapped(): Trapped | undefined {
    const at = this.vcpu.exit.rip - KERNEL - BigInt(STUBS);
    if (at < 0n || at >= BigInt(256 * STUB_STRIDE)) return undefined;
    const vector = Number(at) / STUB_STRIDE;
    let frame = Number(this.gpr('rsp') - KERNEL);
    let errorCode = 0;
    if (WITH_ERROR_CODE.has(vector)) {
      errorCode = this.readU32(frame);
      frame += 8;
    }
    return { vector, errorCode, rip: this.readU64(frame), cr2: this.vcpu.registers.cr2 };
  }
}
