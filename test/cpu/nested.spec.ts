import { beforeEach, describe, expect, it } from 'vitest';
import { gfn } from '../../src/base/address.ts';
import { EptQualification as Q, ExitReason, NPT_EXECUTE, NPT_READ, NPT_WRITE, StringKind } from '../../src/cpu/interface.ts';
import { CODE, CODE_GPA, DATA, DATA_GPA, LongMode, machineCode } from './long-mode.ts';
import { ALL, Pte } from './machine.ts';

let m: LongMode;
beforeEach(() => {
  m = new LongMode();
});

/** What of the last exit these tests look at. */
const exitOf = (): { gpa: number; gla: bigint; isWrite: boolean; size: number; data: number; final: boolean } => {
  const { exit } = m.vcpu;
  return {
    gpa: exit.gpa,
    gla: exit.gla,
    isWrite: exit.isWrite,
    size: exit.size,
    data: exit.dataLo,
    final: (exit.qualification & Q.finalAccess) !== 0,
  };
};
const data = (page: number, offset = 0): bigint => DATA + BigInt(page * 0x1000 + offset);
const dataGpa = (page: number, offset = 0): number => DATA_GPA + page * 0x1000 + offset;

describe('accessed and dirty bits, through the p2m', () => {
  it('are written into the frame that the p2m gives the table', () => {
    const entry = m.tables.entry(data(0));
    const clean = m.readU64(entry) & ~(Pte.accessed | Pte.dirty);
    m.writeU64(entry, clean);
    m.assemble('mov al, [rbx]', { rbx: data(0) });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.readU64(entry)).toBe(clean | Pte.accessed);
    m.assemble('mov [rbx], al', { rbx: data(0) });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.readU64(entry)).toBe(clean | Pte.accessed | Pte.dirty);
  });

  it('leave as a write violation of the walk when the table is read-only in the p2m, and go on after', () => {
    const entry = m.tables.entry(data(0));
    const clean = m.readU64(entry) & ~(Pte.accessed | Pte.dirty);
    m.writeU64(entry, clean);
    const table = gfn(entry >> 12);
    m.setEntry(table, NPT_READ | NPT_EXECUTE);
    m.assemble('mov [rbx], al', { rbx: data(0), rax: 0x5an });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: entry, gla: data(0), final: false });
    expect(m.vcpu.exit.qualification & (Q.write | Q.readable | Q.writable | Q.glaValid)).toBe(Q.write | Q.readable | Q.glaValid);
    expect(m.readU64(entry)).toBe(clean);
    m.setEntry(table, ALL);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.readU64(entry)).toBe(clean | Pte.accessed | Pte.dirty);
    expect(m.read(dataGpa(0), 1)[0]).toBe(0x5a);
  });

  it('need no write when they are set already', () => {
    const entry = m.tables.entry(data(0));
    m.setEntry(gfn(entry >> 12), NPT_READ);
    m.assemble('mov [rbx], al', { rbx: data(0) });
    expect(m.run()).toBe(ExitReason.vmcall);
  });

  it('of a large page', () => {
    const entry = m.tables.entry(0x800000n, 2);
    m.tables.map(0x800000n, 0x200000, Pte.write, 2);
    m.assemble('mov [rbx], al', { rbx: 0x800000n + 0x1ff234n, rax: 0x77n });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.readU64(entry) & (Pte.accessed | Pte.dirty)).toBe(Pte.accessed | Pte.dirty);
    expect(m.read(0x200000 + 0x1ff234, 1)[0]).toBe(0x77);
  });
});

describe('a page walk that meets a gfn without a frame', () => {
  it('leaves with bit 8 of the qualification clear, and the address of the entry', () => {
    const directory = m.tables.entry(0xc0000000n, 2);
    m.writeU64(directory, 0x3ff000n | Pte.present | Pte.write); // a page table in a frame that is taken away
    m.setEntry(gfn(0x3ff), 0);
    m.assemble('mov al, [rbx]', { rbx: 0xc0005123n });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: 0x3ff000 + 5 * 8, gla: 0xc0005123n, final: false });
    expect(m.vcpu.exit.qualification & (Q.read | Q.readable | Q.glaValid)).toBe(Q.read | Q.glaValid);
    expect(m.vcpu.exit.rip).toBe(CODE);
    // the hypervisor finds a frame: the instruction starts again
    m.setEntry(gfn(0x3ff), ALL);
    m.writeU64(0x3ff000 + 5 * 8, BigInt(dataGpa(2)) | Pte.present);
    m.write(dataGpa(2, 0x123), Uint8Array.of(0x42));
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rax') & 0xffn).toBe(0x42n);
  });

  it('also while an exception is delivered', () => {
    m.setEntry(gfn(2), 0); // the IDT
    m.assemble('ud2');
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(m.vcpu.exit.gpa).toBe(0x2000 + 6 * 16);
    m.setEntry(gfn(2), ALL);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 6, rip: CODE });
  });
});

describe('permissions of the p2m', () => {
  it('a write to a read-only frame leaves, a read does not; the store happens once after it', () => {
    m.setEntry(m.dataGfn(0), NPT_READ | NPT_EXECUTE);
    m.assemble('mov ecx, [rbx]; inc r8d; mov [rbx], ecx; inc r9d', { rbx: data(0), r8: 0n, r9: 0n });
    m.writeU32(dataGpa(0), 0x1234);
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: dataGpa(0), gla: data(0), isWrite: true, size: 4, data: 0x1234, final: true });
    expect(m.vcpu.exit.qualification & 0x3f).toBe(Q.write | Q.readable | Q.executable);
    expect(m.gpr('r8')).toBe(1n);
    expect(m.gpr('r9')).toBe(0n);
    m.setEntry(m.dataGfn(0), ALL); // log-dirty: noted, made writable
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('r8')).toBe(1n);
    expect(m.gpr('r9')).toBe(1n);
  });

  it('a fetch from a frame that is not executable leaves', () => {
    m.setEntry(gfn(CODE_GPA >> 12), NPT_READ | NPT_WRITE);
    m.assemble('nop');
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(m.vcpu.exit.gpa).toBe(CODE_GPA);
    expect(
      m.vcpu.exit.qualification & (Q.read | Q.write | Q.fetch | Q.readable | Q.writable | Q.executable | Q.finalAccess),
    ).toBe(Q.fetch | Q.readable | Q.writable | Q.finalAccess);
    m.setEntry(gfn(CODE_GPA >> 12), ALL);
    expect(m.run()).toBe(ExitReason.vmcall);
  });

  it('a frame changed under a cached translation shows at once, for data and for code', () => {
    m.assemble('mov eax, [rbx]; nop', { rbx: data(0) });
    m.writeU32(dataGpa(0), 1);
    m.writeU32(dataGpa(1), 2);
    m.run();
    expect(m.gpr('rax')).toBe(1n);
    m.setEntry(m.dataGfn(0), ALL, m.dataGfn(1));
    m.assemble('mov eax, [rbx]; nop', { rbx: data(0) });
    m.run();
    expect(m.gpr('rax')).toBe(2n);
    m.write(CODE_GPA + 0x1000, machineCode('mov eax, 7; vmcall'));
    m.setEntry(gfn(CODE_GPA >> 12), ALL, gfn((CODE_GPA >> 12) + 1));
    m.vcpu.registers.rip = CODE as typeof m.vcpu.registers.rip;
    m.run();
    expect(m.gpr('rax')).toBe(7n);
  });

  it('guest permissions come first: a page fault, not a violation', () => {
    m.makeMmio(0);
    m.tables.map(data(0), dataGpa(0), 0n); // read-only for the guest
    m.assemble('mov [rbx], al', { rbx: data(0) });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 14, errorCode: 3, cr2: data(0) });
  });
});

describe('MMIO accesses', () => {
  it('a read takes the value completed, of each width, extended as the instruction says', () => {
    m.makeMmio(0);
    for (const [code, size, rax] of [
      ['mov al, [rbx]', 1, 0x1111111111111188n],
      ['mov ax, [rbx]', 2, 0x1111111111117788n],
      ['mov eax, [rbx]', 4, 0x55667788n],
      ['mov rax, [rbx]', 8, 0x1122334455667788n],
      ['movsx eax, byte [rbx]', 1, 0xffffff88n],
      ['movzx rax, word [rbx]', 2, 0x7788n],
      ['movsxd rax, dword [rbx]', 4, 0x55667788n],
    ] as [string, number, bigint][]) {
      m.assemble(code, { rbx: data(0, 0x10), rax: 0x1111111111111111n });
      expect(m.run()).toBe(ExitReason.eptViolation);
      expect(exitOf()).toMatchObject({ gpa: dataGpa(0, 0x10), gla: data(0, 0x10), isWrite: false, size, final: true });
      m.vcpu.completeAccess(0x55667788, 0x11223344);
      expect(m.run()).toBe(ExitReason.vmcall);
      expect(m.gpr('rax'), code).toBe(rax);
    }
  });

  it('a page-crossing access leaves once for each half without RAM, and joins the halves', () => {
    m.writeU32(dataGpa(0, 0xffc), 0x44332211);
    for (const [first, second] of [
      [false, true],
      [true, false],
      [true, true],
    ]) {
      m.setEntry(m.dataGfn(0), first ? 0 : ALL);
      m.setEntry(m.dataGfn(1), second ? 0 : ALL);
      if (!second) m.writeU64(dataGpa(1), 0x8877665544332211n);
      m.assemble('mov rax, [rbx]', { rbx: data(1) - 3n });
      let reason = m.run();
      if (first) {
        expect(reason).toBe(ExitReason.eptViolation);
        expect(exitOf()).toMatchObject({ gpa: dataGpa(0, 0xffd), gla: data(1) - 3n, isWrite: false, size: 3 });
        m.vcpu.completeAccess(0xccbbaa, 0);
        reason = m.run();
      }
      if (second) {
        expect(reason).toBe(ExitReason.eptViolation);
        expect(exitOf()).toMatchObject({ gpa: dataGpa(1), gla: data(1), isWrite: false, size: 5 });
        m.vcpu.completeAccess(0x04030201, 0x05);
        reason = m.run();
      }
      expect(reason).toBe(ExitReason.vmcall);
      const low = first ? 0xccbbaan : 0x443322n;
      const high = second ? 0x0504030201n : 0x5544332211n;
      expect(m.gpr('rax')).toBe(low | (high << 24n));
    }
  });

  it('a page-crossing store writes its RAM half once, and only together with the other', () => {
    m.makeMmio(1);
    m.assemble('mov [rbx], rax; inc r8d', { rbx: data(1) - 2n, rax: 0x8877665544332211n, r8: 0n });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: dataGpa(1), gla: data(1), isWrite: true, size: 6, data: 0x66554433 });
    expect(m.vcpu.exit.dataHi & 0xffff).toBe(0x8877);
    m.vcpu.completeAccess(0, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect([...m.read(dataGpa(0, 0xffe), 2)]).toEqual([0x11, 0x22]);
    expect(m.gpr('r8')).toBe(1n);
  });

  it('a read-modify-write reads once and writes once', () => {
    m.makeMmio(0);
    for (const [code, start, written, check] of [
      ['add dword [rbx], 5', 7, 12, undefined],
      ['lock add dword [rbx], 5', 7, 12, undefined],
      ['neg dword [rbx]', 7, 0xfffffff9, undefined],
      ['xchg [rbx], eax', 7, 0x99, 7n],
      ['lock xadd [rbx], eax', 7, 0xa0, 7n],
    ] as [string, number, number, bigint | undefined][]) {
      m.assemble(`${code}; inc r8d`, { rbx: data(0), rax: 0x99n, r8: 0n });
      expect(m.run()).toBe(ExitReason.eptViolation);
      expect(exitOf()).toMatchObject({ isWrite: false, size: 4, gpa: dataGpa(0) });
      m.vcpu.completeAccess(start, 0);
      expect(m.run()).toBe(ExitReason.eptViolation);
      expect(exitOf()).toMatchObject({ isWrite: true, size: 4, gpa: dataGpa(0), data: written });
      m.vcpu.completeAccess(0, 0);
      expect(m.run()).toBe(ExitReason.vmcall);
      if (check !== undefined) expect(m.gpr('rax')).toBe(check);
      expect(m.gpr('r8')).toBe(1n);
    }
  });

  it('cmpxchg compares what was read; a failed one stores back what it read', () => {
    m.makeMmio(0);
    for (const [seen, stored, rax] of [
      [5, 9, 5n],
      [6, 6, 6n],
    ] as [number, number, bigint][]) {
      m.assemble('lock cmpxchg [rbx], ecx', { rbx: data(0), rax: 5n, rcx: 9n });
      expect(m.run()).toBe(ExitReason.eptViolation);
      m.vcpu.completeAccess(seen, 0);
      expect(m.run()).toBe(ExitReason.eptViolation);
      expect(exitOf()).toMatchObject({ isWrite: true, data: stored });
      m.vcpu.completeAccess(0, 0);
      expect(m.run()).toBe(ExitReason.vmcall);
      expect(m.gpr('rax')).toBe(rax);
    }
  });

  it('push and call to MMIO move rSP only when the write is done', () => {
    m.makeMmio(0);
    m.assemble('push rax', { rax: 0x1122334455667788n, rsp: data(0, 0x100) });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: dataGpa(0, 0xf8), isWrite: true, size: 8, data: 0x55667788 });
    expect(m.gpr('rsp')).toBe(data(0, 0x100));
    m.vcpu.completeAccess(0, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rsp')).toBe(data(0, 0xf8));
    m.assemble('call next; next:', { rsp: data(0, 0x100) });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ isWrite: true, size: 8, data: Number(CODE) + 5 });
    m.vcpu.completeAccess(0, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rsp')).toBe(data(0, 0xf8));
  });

  it('an instruction with two MMIO operands does not repeat the first', () => {
    m.makeMmio(0);
    m.makeMmio(1);
    m.assemble('push qword [rbx]', { rbx: data(0), rsp: data(1, 0x100) });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ isWrite: false, gpa: dataGpa(0) });
    m.vcpu.completeAccess(0xabcd, 0);
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ isWrite: true, gpa: dataGpa(1, 0xf8), data: 0xabcd });
    m.vcpu.completeAccess(0, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rsp')).toBe(data(1, 0xf8));
  });

  it('a fault after an MMIO read shows the read done, and the restart begins anew', () => {
    m.makeMmio(0);
    m.tables.map(data(1), dataGpa(1), 0n); // stack page not writable
    m.assemble('push qword [rbx]', { rbx: data(0), rsp: data(1, 0x100) });
    expect(m.run()).toBe(ExitReason.eptViolation);
    m.vcpu.completeAccess(0xabcd, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 14, errorCode: 3, rip: CODE });
  });

  it('accesses wider than eight bytes come in parts', () => {
    m.makeMmio(0);
    m.assemble('movdqu xmm0, [rbx]; movq rax, xmm0', { rbx: data(0) });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: dataGpa(0), size: 8, isWrite: false });
    m.vcpu.completeAccess(0x11, 0x22);
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ gpa: dataGpa(0, 8), size: 8, isWrite: false });
    m.vcpu.completeAccess(0x33, 0x44);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rax')).toBe(0x2200000011n);
  });

  it('a kick between two parts of an instruction loses nothing', () => {
    m.makeMmio(0);
    m.assemble('add dword [rbx], 5', { rbx: data(0) });
    m.run();
    m.vcpu.completeAccess(7, 0);
    Atomics.store(new Int32Array(m.memory.buffer), m.vcpu.kickWord >> 2, 1);
    let reason = m.run();
    if (reason === ExitReason.externalInterrupt) reason = m.run();
    expect(reason).toBe(ExitReason.eptViolation);
    expect(exitOf()).toMatchObject({ isWrite: true, data: 12 });
  });
});

describe('repeated string instructions on MMIO', () => {
  it('movs from RAM to MMIO: what, how many, from where, and many finished at once', () => {
    m.makeMmio(1);
    m.assemble('rep movsd', { rsi: data(0), rdi: data(1, 0x20), rcx: 10n });
    m.writeU32(dataGpa(0), 0xcafe);
    expect(m.run()).toBe(ExitReason.eptViolation);
    const { exit } = m.vcpu;
    expect({
      kind: exit.string,
      rep: exit.rep,
      count: exit.repCount,
      df: exit.df,
      from: exit.sourceGla,
      to: exit.destinationGla,
      size: exit.size,
    }).toEqual({ kind: StringKind.movs, rep: true, count: 10, df: false, from: data(0), to: data(1, 0x20), size: 4 });
    expect(exitOf()).toMatchObject({ isWrite: true, gpa: dataGpa(1, 0x20), data: 0xcafe });
    m.vcpu.completeReps(7);
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(m.gpr('rcx')).toBe(3n);
    expect(m.gpr('rsi')).toEqual(data(0, 28));
    expect(m.gpr('rdi')).toEqual(data(1, 0x20 + 28));
    m.vcpu.completeReps(3);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rcx')).toBe(0n);
    expect(m.gpr('rsi')).toEqual(data(0, 40));
    expect(m.gpr('rdi')).toEqual(data(1, 0x20 + 40));
    expect(m.vcpu.exit.rip).toBe(CODE + 2n);
  });

  it('movs from MMIO to MMIO, one access at a time', () => {
    m.makeMmio(0);
    m.makeMmio(1);
    m.assemble('rep movsb', { rsi: data(0), rdi: data(1), rcx: 3n });
    const seen: unknown[] = [];
    for (let i = 0; i < 6; i++) {
      expect(m.run()).toBe(ExitReason.eptViolation);
      seen.push([exitOf().isWrite, exitOf().gpa, exitOf().isWrite ? exitOf().data & 0xff : 0]);
      m.vcpu.completeAccess(0x10 + i, 0);
    }
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(seen).toEqual([
      [false, dataGpa(0), 0],
      [true, dataGpa(1), 0x10],
      [false, dataGpa(0, 1), 0],
      [true, dataGpa(1, 1), 0x12],
      [false, dataGpa(0, 2), 0],
      [true, dataGpa(1, 2), 0x14],
    ]);
    expect(m.gpr('rcx')).toBe(0n);
  });

  it('stos runs through RAM and leaves at the first byte without it, backwards too', () => {
    m.makeMmio(1);
    m.assemble('rep stosb', { rdi: data(1) - 100n, rcx: 150n, rax: 0x5an });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(m.vcpu.exit).toMatchObject({ string: StringKind.stos, repCount: 50, size: 1, gpa: dataGpa(1) });
    expect([...m.read(dataGpa(0, 0x1000 - 100), 100)].every((byte) => byte === 0x5a)).toBe(true);
    m.vcpu.completeReps(50);
    expect(m.run()).toBe(ExitReason.vmcall);
    m.assemble('std; rep stosd; cld', { rdi: data(2, 8), rcx: 5n, rax: 0x01020304n });
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(m.vcpu.exit).toMatchObject({ df: true, repCount: 2, gpa: dataGpa(1, 0xffc) });
    m.vcpu.completeReps(2);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rdi')).toBe(data(1, 0xff4));
  });

  it('ins and outs tell port and memory, and go on by iterations', () => {
    m.assemble('rep insb', { rdx: 0x60n, rdi: data(0), rcx: 4n });
    expect(m.run()).toBe(ExitReason.ioInstruction);
    expect(m.vcpu.exit).toMatchObject({
      port: 0x60,
      size: 1,
      isWrite: false,
      string: StringKind.ins,
      rep: true,
      repCount: 4,
      destinationGla: data(0),
    });
    m.vcpu.completeReps(4);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rcx')).toBe(0n);
    expect(m.gpr('rdi')).toEqual(data(0, 4));
    m.assemble('outsd', { rdx: 0x80n, rsi: data(0) });
    expect(m.run()).toBe(ExitReason.ioInstruction);
    expect(m.vcpu.exit).toMatchObject({
      port: 0x80,
      size: 4,
      isWrite: true,
      string: StringKind.outs,
      rep: false,
      repCount: 1,
      sourceGla: data(0),
    });
    m.vcpu.completeReps(1);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rsi')).toBe(data(0, 4));
  });

  it('cmps and scas read MMIO and end where they should', () => {
    m.makeMmio(0);
    m.assemble('repne scasb', { rdi: data(0), rcx: 10n, rax: 0x33n });
    for (const value of [1, 2, 0x33]) {
      expect(m.run()).toBe(ExitReason.eptViolation);
      m.vcpu.completeAccess(value, 0);
    }
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rcx')).toBe(7n);
    expect(m.gpr('rdi')).toEqual(data(0, 3));
  });
});

describe('code seen anew', () => {
  it('after a store through another gfn of the same frame', () => {
    m.setEntry(m.dataGfn(3), ALL, gfn(CODE_GPA >> 12)); // data page 3 shows the code's frame
    // RBX points to the immediate of the last instruction
    m.assemble('mov byte [rbx], 0x42; jmp next; next: mov al, 0x11', { rbx: data(3, 6) });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rax') & 0xffn).toBe(0x42n);
  });

  it('after a writer behind its back says so (DMA)', () => {
    m.assemble('mov al, 0x11');
    m.run();
    m.assemble('mov al, 0x22');
    m.run();
    expect(m.gpr('rax') & 0xffn).toBe(0x22n);
  });

  it('a loop patched while it runs', () => {
    const incrementImmediate = 'db 0xfe, 0x05, 0xf7, 0xff, 0xff, 0xff'; // inc byte [rip - 9]: the 1 of the MOV
    m.assemble(`xor eax, eax; again: mov al, 1; add ebx, eax; ${incrementImmediate}; dec ecx; jne again`, { rbx: 0n, rcx: 5n });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rbx')).toBe(15n);
  });
});

describe('what QEMU does not check, and would not survive', () => {
  const refused = (code: string, registers: Parameters<LongMode['load']>[1]): void => {
    m.assemble(code, registers);
    const reason = m.run();
    expect(reason).toBe(ExitReason.crAccess);
    const { exit } = m.vcpu;
    expect(m.vcpu.writeCr(exit.register, (BigInt(exit.dataHi) << 32n) | BigInt(exit.dataLo))).toBe(false);
  };
  it('CR0 and CR4 values that long mode does not allow', () => {
    refused('mov cr0, rax', { rax: 0x80010032n }); // PE clear with PG
    refused('mov cr0, rax', { rax: 0x10033n }); // PG clear in 64-bit mode
    refused('mov cr0, rax', { rax: 0xa0010033n }); // NW without CD
    refused('mov cr4, rax', { rax: 0x680n }); // PAE clear
    refused('mov cr4, rax', { rax: 0x1000006a0n }); // bit 32
    refused('mov cr4, rax', { rax: 0x26a0n }); // VMXE
    expect(m.vcpu.registers.cr0).toBe(0x80010033);
  });
  it('CR3 with bits above the physical address width', () => {
    m.assemble('mov cr3, rax', { rax: (1n << 52n) | BigInt(m.tables.root) });
    const reason = m.run();
    if (reason === ExitReason.crAccess) expect(m.vcpu.writeCr(3, m.gpr('rax'))).toBe(false);
    else expect(m.trapped()).toMatchObject({ vector: 13, rip: CODE });
  });
});
