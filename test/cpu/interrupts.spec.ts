import { beforeEach, describe, expect, it } from 'vitest';
import { EventType, ExitReason, Reg, Seg } from '../../src/cpu/interface.ts';
import { gva } from '../../src/base/address.ts';
import { CODE, CODE_GPA, DATA, DATA_GPA, LongMode, machineCode } from './long-mode.ts';
import { Pte } from './machine.ts';

let m: LongMode;
beforeEach(() => {
  m = new LongMode();
});
const IF = 0x200;
const offset = (): bigint => m.vcpu.registers.rip - CODE;

describe('interrupt window', () => {
  it('opens after the instruction behind STI, not before', () => {
    m.assemble('sti; inc eax; inc eax');
    m.vcpu.requestInterruptWindow(true);
    expect(m.run()).toBe(ExitReason.interruptWindow);
    expect(m.gpr('rax')).toBe(1n);
    expect(m.vcpu.interruptible).toBe(true);
    m.vcpu.requestInterruptWindow(false);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rax')).toBe(2n);
  });

  it('does not open between STI and HLT', () => {
    m.assemble('sti; hlt');
    m.vcpu.requestInterruptWindow(true);
    const reason = m.run();
    expect(reason).toBe(ExitReason.hlt);
    expect(m.vcpu.exit.rip).toBe(CODE + 1n);
  });

  it('opens after the instruction behind MOV SS and POP SS', () => {
    m.assemble('mov ss, eax; inc ecx; inc ecx', { rax: 16n, rcx: 0n });
    m.vcpu.registers.rflags = 2 | IF;
    m.vcpu.singleStep(true);
    expect(m.run()).toBe(ExitReason.monitorTrap);
    m.vcpu.singleStep(false);
    expect(offset()).toBe(2n);
    expect(m.vcpu.interruptible).toBe(false);
    m.vcpu.requestInterruptWindow(true);
    expect(m.run()).toBe(ExitReason.interruptWindow);
    expect(offset()).toBe(4n);
    expect(m.gpr('rcx')).toBe(1n);
  });

  it('stays shut while IF is clear, and opens at POPF', () => {
    m.assemble('inc eax; push 0x202; popf; inc eax');
    m.vcpu.requestInterruptWindow(true);
    expect(m.run()).toBe(ExitReason.interruptWindow);
    expect(offset()).toBe(8n);
    expect(m.gpr('rax')).toBe(1n);
  });
});

describe('injected events', () => {
  it('an external interrupt comes before the next instruction and clears IF', () => {
    m.assemble('inc eax');
    m.vcpu.registers.rflags = 2 | IF;
    m.vcpu.inject(EventType.externalInterrupt, 0x31, -1, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 0x31, rip: CODE });
    expect(m.gpr('rax')).toBe(0n);
    expect(m.vcpu.registers.rflags & IF).toBe(0);
  });

  it('a page fault brings its error code and CR2; a software exception returns behind its instruction', () => {
    m.assemble('inc eax');
    m.vcpu.registers.cr2 = 0x1234n;
    m.vcpu.inject(EventType.hardwareException, 14, 6, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toEqual({ vector: 14, errorCode: 6, rip: CODE, cr2: 0x1234n });
    m.assemble('int3; inc eax');
    m.vcpu.inject(EventType.softwareException, 3, -1, 1);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 3, rip: CODE + 1n });
  });

  it('the error code of INT1 through a gate that is not there says EXT, that of INT 1 does not', () => {
    const gate = 0x2000 + 16;
    m.writeU64(gate, m.readU64(gate) & ~(1n << 47n));
    m.assemble('int1');
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 11, errorCode: 0xb, rip: CODE });
    m.assemble('int 1');
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 11, errorCode: 0xa, rip: CODE });
  });

  it('an NMI blocks the next until IRET', () => {
    m.assemble('nop');
    m.vcpu.inject(EventType.nmi, 2, -1, 0);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()?.vector).toBe(2);
    expect(m.vcpu.nmiBlocked).toBe(true);
    m.vcpu.requestNmiWindow(true);
    m.write(0x3000 + 2 * 8 + 3, Uint8Array.of(0x48, 0xcf)); // behind the VMCALL: iretq
    m.vcpu.skipInstruction();
    expect(m.run()).toBe(ExitReason.nmiWindow);
    expect(m.vcpu.nmiBlocked).toBe(false);
    expect(offset()).toBe(0n);
  });

  it('one kept from delivery by the p2m is delivered after', () => {
    m.assemble('inc eax');
    m.setEntry(5 as Parameters<typeof m.setEntry>[0], 0); // the handler's stack
    m.vcpu.inject(EventType.externalInterrupt, 0x40, -1, 0);
    expect(m.run()).toBe(ExitReason.eptViolation);
    expect(m.vcpu.injectionPending).toBe(true);
    expect(m.vcpu.exit.isWrite).toBe(true);
    m.setEntry(5 as Parameters<typeof m.setEntry>[0], 7);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 0x40, rip: CODE });
    expect(m.vcpu.injectionPending).toBe(false);
  });
});

describe('a breakpoint on what MOV SS reads', () => {
  // mov ss, [rbx], then the instruction; the stubs of the IDT end each run.
  const after = (code: string): { vectors: number[]; rips: bigint[]; dr6: bigint } => {
    m = new LongMode();
    m.write(DATA_GPA, Uint8Array.of(16, 0));
    m.assemble(`mov ss, [rbx]; ${code}; nop`, { rbx: DATA });
    m.vcpu.registers.setDr(0, DATA);
    m.vcpu.registers.setDr(7, 0x000f0402n); // DR0: 4 bytes, reads and writes
    const vectors: number[] = [];
    const rips: bigint[] = [];
    for (let i = 0; i < 3; i++) {
      expect(m.run()).toBe(ExitReason.vmcall);
      const trapped = m.trapped();
      if (trapped === undefined) break;
      vectors.push(trapped.vector);
      rips.push(trapped.rip);
      m.vcpu.registers.rip = gva(CODE + 0x100n); // the VMCALL of the end
      m.write(CODE_GPA + 0x100, Uint8Array.of(0x0f, 0x01, 0xc1));
    }
    return { vectors, rips, dr6: m.vcpu.registers.getDr(6) & 0xfn };
  };

  it('traps behind the next instruction', () => {
    expect(after('inc eax')).toEqual({ vectors: [1], rips: [CODE + 4n], dr6: 1n });
  });

  it('behind INT n and INT3, before their handler', () => {
    const handler = 0xffffffff80003000n;
    expect(after('int 0x30')).toEqual({ vectors: [1], rips: [handler + 0x30n * 8n], dr6: 1n });
    expect(after('int3')).toEqual({ vectors: [1], rips: [handler + 3n * 8n], dr6: 1n });
  });

  it("is one with INT1's own", () => {
    expect(after('int1')).toEqual({ vectors: [1], rips: [CODE + 3n], dr6: 1n });
  });

  it('behind an instruction that the hypervisor stepped over', () => {
    m = new LongMode();
    m.write(DATA_GPA, Uint8Array.of(16, 0));
    m.assemble('mov ss, [rbx]; cpuid; nop', { rbx: DATA });
    m.vcpu.registers.setDr(0, DATA);
    m.vcpu.registers.setDr(7, 0x000f0402n);
    expect(m.run()).toBe(ExitReason.cpuid);
    m.vcpu.skipInstruction();
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toMatchObject({ vector: 1, rip: CODE + 4n });
  });
});

describe('a breakpoint on an instruction', () => {
  it.each([
    ['mov ss, eax', false],
    ['mov ds, eax', true],
  ] as const)('behind %s', (code, hits) => {
    m.assemble(`${code}; inc ecx; inc ecx`, { rax: 16n, rcx: 0n });
    m.vcpu.registers.setDr(0, CODE + 2n);
    m.vcpu.registers.setDr(7, 0x402n);
    expect(m.run()).toBe(ExitReason.vmcall);
    expect([m.trapped()?.vector, m.gpr('rcx')]).toEqual(hits ? [1, 0n] : [undefined, 2n]);
  });
});

describe('the end of the canonical addresses', () => {
  const TOP = 0x7ffffffff000n;
  it.each([
    ['nop', 'an instruction that ends there'],
    ['vmcall', 'one that is stepped over'],
    ['int3', 'a software exception'],
  ])('%s: %s', (code) => {
    m.tables.map(TOP, 0x50000, Pte.write);
    const bytes = machineCode(code);
    m.write(0x51000 - bytes.length, bytes);
    m.assemble('nop');
    m.vcpu.registers.rip = gva(TOP + 0x1000n - BigInt(bytes.length));
    expect(m.run()).toBe(ExitReason.vmcall);
    if (code === 'vmcall') {
      m.vcpu.skipInstruction();
      expect(m.run()).toBe(ExitReason.vmcall);
    }
    expect(m.trapped()).toMatchObject({ vector: code === 'int3' ? 3 : 13, rip: 0x800000000000n });
  });
});

describe('leaving', () => {
  it('HLT, stepped over, goes on behind it', () => {
    m.assemble('hlt; inc eax');
    expect(m.run()).toBe(ExitReason.hlt);
    m.vcpu.skipInstruction();
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.gpr('rax')).toBe(1n);
  });

  it('a loop leaves when its budget is used up, and by a kick', () => {
    m.assemble('self: jmp self');
    const before = m.vcpu.instructions;
    expect(m.vcpu.run(1000)).toBe(ExitReason.budget);
    const done = m.vcpu.instructions - before;
    expect(done).toBeGreaterThanOrEqual(1000);
    expect(done).toBeLessThan(1200);
    Atomics.store(new Int32Array(m.memory.buffer), m.vcpu.kickWord >> 2, 1);
    expect(m.vcpu.run(1_000_000)).toBe(ExitReason.externalInterrupt);
    expect(Atomics.load(new Int32Array(m.memory.buffer), m.vcpu.kickWord >> 2)).toBe(0);
  });

  it('single steps one instruction at a time, and a REP one iteration or the whole', () => {
    m.assemble('inc eax; inc eax; inc eax');
    m.vcpu.singleStep(true);
    for (let i = 1; i <= 3; i++) {
      expect(m.run()).toBe(ExitReason.monitorTrap);
      expect(offset()).toEqual(BigInt(2 * i));
      expect(m.gpr('rax')).toEqual(BigInt(i));
    }
  });

  it('counts each retired instruction once', () => {
    m.assemble('mov ecx, 10; again: dec ecx; jne again; cpuid; nop', { rax: 0n });
    const before = m.vcpu.instructions;
    expect(m.run()).toBe(ExitReason.cpuid);
    expect(m.vcpu.instructions - before).toBe(21);
    m.vcpu.skipInstruction();
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.vcpu.instructions - before).toBe(23);
  });
});

describe('TF across SYSCALL and SYSRET', () => {
  const STAR = 0xc0000081;
  const LSTAR = 0xc0000082;
  const FMASK = 0xc0000084;
  const TF = 0x100;
  const DB = 1;
  const kernel = CODE + 0x100n;
  const user = CODE + 0x200n;
  const prepare = (code: string, fmask: bigint): LongMode => {
    const machine = new LongMode();
    machine.tables.map(CODE, CODE_GPA, Pte.user | Pte.write | Pte.accessed | Pte.dirty);
    machine.load(code);
    for (const at of [0x100, 0x200]) machine.write(CODE_GPA + at, Uint8Array.from([0x0f, 0x01, 0xc1]));
    machine.vcpu.writeMsr(STAR, 0x0000000800000000n);
    machine.vcpu.writeMsr(LSTAR, kernel);
    machine.vcpu.writeMsr(FMASK, fmask);
    return machine;
  };
  const syscall = (fmask: bigint): LongMode => {
    const machine = prepare('0f05', fmask);
    const { registers } = machine.vcpu;
    registers.setSegment(Seg.cs, { selector: 0x33, base: 0n, limit: 0xffffffff, accessRights: 0xa0fb });
    registers.setSegment(Seg.ss, { selector: 0x2b, base: 0n, limit: 0xffffffff, accessRights: 0xc0f3 });
    registers.rflags = 2 | TF;
    expect(machine.run()).toBe(ExitReason.vmcall);
    return machine;
  };

  it('SYSCALL that clears TF does not trap: the kernel runs', () => {
    const machine = syscall(BigInt(TF));
    expect(machine.trapped()).toBeUndefined();
    expect(machine.vcpu.exit.rip).toBe(kernel);
  });

  it('SYSCALL that keeps TF traps', () => {
    expect(syscall(0n).trapped()).toMatchObject({ vector: DB, rip: kernel });
  });

  it('SYSRET that sets TF traps before the first instruction of the program', () => {
    const machine = prepare('480f07', 0n);
    machine.vcpu.registers.setGpr(Reg.rcx, user);
    machine.vcpu.registers.setGpr(Reg.r11, BigInt(2 | TF));
    expect(machine.run()).toBe(ExitReason.vmcall);
    expect(machine.trapped()).toMatchObject({ vector: DB, rip: user });
  });
});

describe('saved state', () => {
  it('goes on in another vCPU as if nothing had happened, x87 and SSE included', () => {
    const faddp = 'db 0xde, 0xc1';
    m.assemble(`fninit; fld1; fldpi; mov eax, 7; movd xmm0, eax; vmcall; ${faddp}; fistp dword [rbx]; movd ecx, xmm0`, {
      rbx: DATA,
    });
    expect(m.run()).toBe(ExitReason.vmcall);
    expect(m.trapped()).toBeUndefined();
    m.vcpu.skipInstruction();
    const state = m.vcpu.save();
    const other = new LongMode();
    other.bytes.set(m.bytes.subarray(m.bytes.length - 1024 * 4096), other.bytes.length - 1024 * 4096); // the same RAM
    other.vcpu.restore(state);
    expect(other.vcpu.run(1000)).toBe(ExitReason.vmcall);
    expect(other.trapped()).toBeUndefined();
    expect(other.gpr('rcx')).toBe(7n);
    expect(other.readU32(0x30000)).toBe(4);
  });
});
