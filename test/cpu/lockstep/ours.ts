/**
 * Runs cases on the vCPU: a flat long-mode environment with the selectors, page permissions and control registers
 * that a Linux process has, and an IDT whose every gate leads to a VMCALL.
 */
import { gva } from '../../../src/base/address.ts';
import { ExitReason, type Vcpu, Seg } from '../../../src/cpu/interface.ts';
import type { CompilePolicy } from '../../../src/cpu/compiled/hot-code.ts';
import { PageTables, Pte, TestMachine } from '../machine.ts';
import {
  type Case,
  CODE,
  DATA,
  type Mode,
  type Outcome,
  RESULT_SIZE,
  TIMEOUT_VECTOR,
  WRITABLE,
  request,
  result,
} from './case.ts';
import { codePages, memoryImage } from './values.ts';

const KERNEL = 0xffffffff80000000n;
/** Guest-physical layout. */
const gpaOf = {
  gdt: 0x1000,
  idt: 0x2000,
  tss: 0x3000,
  stubs: 0x4000,
  stack: 0x5000,
  fx: 0x6000,
  code: 0x8000,
  data: 0xb000,
  tables: 0x10000,
} as const;
const TABLE_FRAMES = 32;
const STACK_TOP = gpaOf.stack + 0x1000;
const STUB_STRIDE = 8;
const VMCALL = [0x0f, 0x01, 0xc1];
const RESTORE_STUB = gpaOf.stubs + 0x900;
const SAVE_STUB = gpaOf.stubs + 0x920;
const BUDGET = 100_000;

/** Vectors that push an error code (SDM vol. 3A table 6-1). */
const withErrorCode = new Set([8, 10, 11, 12, 13, 14, 17, 21]);

/** Linux's GDT: kernel code and data, 32-bit user code, user data, 64-bit user code, TSS. */
const gdt: [number, bigint][] = [
  [0x10, 0x00af9b000000ffffn],
  [0x18, 0x00cf93000000ffffn],
  [0x20, 0x00cffb000000ffffn],
  [0x28, 0x00cff3000000ffffn],
  [0x30, 0x00affb000000ffffn],
];

export class OurProcessor {
  readonly machine: TestMachine;
  readonly vcpu: Vcpu;
  private memorySeed = -1;
  private image: Uint8Array = new Uint8Array(0);
  private readonly dataAt: number[];

  constructor(compile?: CompilePolicy) {
    this.machine = new TestMachine(256, compile);
    this.vcpu = this.machine.vcpu;
    this.build();
    this.dataAt = [0, 0x1000, 0x2000].map((offset) => this.machine.maddr(gpaOf.data + offset));
  }

  private build(): void {
    const { machine, vcpu } = this;
    const tables = new PageTables(machine, gpaOf.tables, TABLE_FRAMES);
    for (let gpa = 0x1000; gpa < gpaOf.tables; gpa += 0x1000) tables.map(KERNEL + BigInt(gpa), gpa, Pte.write | Pte.global);
    for (let i = 0; i < 2; i++) tables.map(BigInt(CODE + i * 0x1000), gpaOf.code + i * 0x1000, Pte.user);
    for (let i = 0; i < 3; i++)
      tables.map(BigInt(DATA + i * 0x1000), gpaOf.data + i * 0x1000, Pte.user | Pte.noExecute | (i < 2 ? Pte.write : 0n));
    for (const [selector, descriptor] of gdt) machine.writeU64(gpaOf.gdt + selector, descriptor);
    const tss = KERNEL + BigInt(gpaOf.tss);
    machine.writeU64(gpaOf.gdt + 0x40, 0x67n | ((tss & 0xffffffn) << 16n) | (0x8bn << 40n) | (((tss >> 24n) & 0xffn) << 56n));
    machine.writeU64(gpaOf.gdt + 0x48, tss >> 32n);
    machine.writeU64(gpaOf.tss + 4, KERNEL + BigInt(STACK_TOP));
    for (let vector = 0; vector < 256; vector++) {
      const stub = KERNEL + BigInt(gpaOf.stubs + vector * STUB_STRIDE);
      machine.write(gpaOf.stubs + vector * STUB_STRIDE, Uint8Array.from(VMCALL));
      const type = vector === 3 || vector === 4 ? 0xeen : 0x8en;
      machine.writeU64(
        gpaOf.idt + vector * 16,
        (stub & 0xffffn) | (0x10n << 16n) | (type << 40n) | (((stub >> 16n) & 0xffffn) << 48n),
      );
      machine.writeU64(gpaOf.idt + vector * 16 + 8, stub >> 32n);
    }
    machine.write(gpaOf.code, codePages());
    const fxAddress = [...new Uint8Array(new Uint32Array([Number((KERNEL + BigInt(gpaOf.fx)) & 0xffffffffn)]).buffer)];
    machine.write(RESTORE_STUB, Uint8Array.from([0x48, 0x0f, 0xae, 0x0c, 0x25, ...fxAddress, ...VMCALL])); // fxrstor64 [fx]
    machine.write(SAVE_STUB, Uint8Array.from([0x48, 0x0f, 0xae, 0x04, 0x25, ...fxAddress, ...VMCALL])); // fxsave64 [fx]

    const r = vcpu.registers;
    // PE MP ET NE WP AM PG; PAE PGE OSFXSR OSXMMEXCPT FSGSBASE SMEP SMAP; SCE LME LMA NXE
    r.cr4 = 0x3106a0;
    r.cr3 = BigInt(tables.root);
    r.efer = 0xd01;
    r.cr0 = 0x80050033;
    r.gdtrBase = KERNEL + BigInt(gpaOf.gdt);
    r.gdtrLimit = 0x7f;
    r.idtrBase = KERNEL + BigInt(gpaOf.idt);
    r.idtrLimit = 0xfff;
    r.setSegment(Seg.tr, { selector: 0x40, base: tss, limit: 0x67, accessRights: 0x8b });
    r.setSegment(Seg.ldtr, { selector: 0, base: 0n, limit: 0, accessRights: 0x10000 });
    this.kernel();
  }

  private kernel(): void {
    const r = this.vcpu.registers;
    r.setSegment(Seg.cs, { selector: 0x10, base: 0n, limit: 0xffffffff, accessRights: 0xa09b });
    r.setSegment(Seg.ss, { selector: 0, base: 0n, limit: 0xffffffff, accessRights: 0x10000 });
    for (const seg of [Seg.ds, Seg.es, Seg.fs, Seg.gs])
      r.setSegment(seg, { selector: 0, base: 0n, limit: 0xffffffff, accessRights: 0x10000 });
    r.rflags = 2;
    r.setGpr(4, KERNEL + BigInt(STACK_TOP));
  }

  private stub(at: number): void {
    this.kernel();
    this.vcpu.registers.rip = gva(KERNEL + BigInt(at));
    const reason = this.vcpu.run(BUDGET);
    if (reason !== ExitReason.vmcall) throw new Error(`the harness's own code left with exit ${reason}\n${this.vcpu.dump()}`);
  }

  run(one: Case): Outcome {
    const { machine, vcpu } = this;
    const r = vcpu.registers;
    const input = new DataView(one.record.buffer, one.record.byteOffset, one.record.byteLength);
    const mode = input.getUint32(request.mode, true) as Mode;
    if (one.memorySeed !== this.memorySeed) {
      this.image = memoryImage(one.memorySeed);
      this.memorySeed = one.memorySeed;
      machine.write(gpaOf.data, this.image);
    }
    const codeOffset = input.getUint32(request.codeOffset, true);
    const codeLength = input.getUint32(request.codeLength, true);
    machine.write(gpaOf.code + codeOffset, one.record.subarray(request.code, request.code + codeLength));
    machine.bytes.set(one.record.subarray(request.fx, request.fx + 512), machine.maddr(gpaOf.fx));
    this.stub(RESTORE_STUB);

    for (let i = 0; i < 16; i++) r.setGpr(i, input.getBigUint64(request.gpr + i * 8, true));
    r.rip = gva(BigInt(CODE + codeOffset));
    r.rflags = input.getUint32(request.rflags, true);
    const data = { selector: 0x2b, base: 0n, limit: 0xffffffff, accessRights: 0xc0f3 };
    const none = { selector: 0, base: 0n, limit: 0xffffffff, accessRights: 0x10000 };
    r.setSegment(
      Seg.cs,
      mode === 64
        ? { selector: 0x33, base: 0n, limit: 0xffffffff, accessRights: 0xa0fb }
        : { selector: 0x23, base: 0n, limit: 0xffffffff, accessRights: 0xc0fb },
    );
    r.setSegment(Seg.ss, data);
    r.setSegment(Seg.ds, mode === 64 ? none : data);
    r.setSegment(Seg.es, mode === 64 ? none : data);
    r.setSegment(Seg.fs, { ...none, base: input.getBigUint64(request.fsBase, true) });
    r.setSegment(Seg.gs, { ...none, base: input.getBigUint64(request.gsBase, true) });

    const record = new Uint8Array(RESULT_SIZE);
    const out = new DataView(record.buffer);
    const reason = vcpu.run(BUDGET);
    if (reason === ExitReason.budget) {
      out.setUint32(result.vector, TIMEOUT_VECTOR, true);
      out.setBigUint64(result.rip, r.rip, true);
    } else if (reason !== ExitReason.vmcall || r.cpl !== 0) {
      // Nothing else may leave: shown as a vector no processor has.
      out.setUint32(result.vector, 0x10000 | reason, true);
      out.setBigUint64(result.rip, vcpu.exit.rip, true);
    } else {
      const vector = Number(vcpu.exit.rip - KERNEL - BigInt(gpaOf.stubs)) / STUB_STRIDE;
      let frame = Number(r.getGpr(4) - KERNEL);
      out.setUint32(result.vector, vector, true);
      if (withErrorCode.has(vector)) {
        out.setUint32(result.errorCode, machine.readU32(frame), true);
        frame += 8;
      }
      out.setBigUint64(result.cr2, r.cr2, true);
      out.setBigUint64(result.rip, machine.readU64(frame), true);
      out.setUint16(result.selectors + 2, machine.readU32(frame + 8), true);
      out.setBigUint64(result.rflags, machine.readU64(frame + 16), true);
      for (let i = 0; i < 16; i++) out.setBigUint64(result.gpr + i * 8, r.getGpr(i), true);
      out.setBigUint64(result.gpr + 32, machine.readU64(frame + 24), true);
      out.setUint16(result.selectors + 4, machine.readU32(frame + 32), true);
    }
    [Seg.es, -1, -1, Seg.ds, Seg.fs, Seg.gs].forEach((seg, i) => {
      if (seg >= 0) out.setUint16(result.selectors + i * 2, r.getSegment(seg).selector, true);
    });
    out.setBigUint64(result.fsBase, r.getSegment(Seg.fs).base, true);
    out.setBigUint64(result.gsBase, r.getSegment(Seg.gs).base, true);
    this.stub(SAVE_STUB);
    const fxAt = machine.maddr(gpaOf.fx);
    record.set(machine.bytes.subarray(fxAt, fxAt + 512), result.fx);

    const changes = this.changes();
    out.setUint32(result.changes, changes.length, true);
    machine.write(gpaOf.code + codeOffset, new Uint8Array(codeLength).fill(0xcc));
    return { record, changes };
  }

  /** What the case changed in the writable pages; put back as it was. */
  private changes(): Uint32Array {
    const changes: number[] = [];
    for (let at = 0; at < WRITABLE; at++) {
      const place = (this.dataAt[at >> 12] ?? 0) + (at & 0xfff);
      const now = this.machine.bytes[place] ?? 0;
      const before = this.image[at] ?? 0;
      if (now !== before) {
        changes.push(((at << 8) | now) >>> 0);
        this.machine.bytes[place] = before;
      }
    }
    return Uint32Array.from(changes);
  }
}
