/** Segments outside 64-bit mode: code and stacks of 16 bits, bases, limits, and what a return to an outer ring leaves. */
import { describe, expect, it } from 'vitest';
import { Seg } from '../../src/cpu/interface.ts';
import { assemble } from '../../src/machine/tiny-guest/assembler.ts';
import { COMPILE } from './engine.ts';
import { CODE, DATA, ProtectedMode, RING0_STACK, Selector, STACK } from './protected-mode.ts';

const GP = 13;
const SS = 12;
const NM = 7;
const CR0_TS = 8;

const machines = { interpreted: new ProtectedMode(COMPILE.never), compiled: new ProtectedMode(COMPILE.all) };
/** A machine as new. */
function fresh(kind: keyof typeof machines = 'interpreted'): ProtectedMode {
  machines[kind].reset();
  return machines[kind];
}

const code32 = (source: string): Uint8Array => assemble(32, CODE, source);

/** enter 0x20, 2 */
const ENTER_2 = Uint8Array.from([0xc8, 0x20, 0, 2]);

describe('ENTER', () => {
  const STACK_BASE = 0x30000;
  const smallStack = { base: STACK_BASE, limit: 0xffff, access: 0x93, big: false };
  const machineOn = (big: boolean): ProtectedMode => {
    const machine = fresh();
    machine.use(Seg.ss, Selector.free, { ...smallStack, big, limit: big ? 0xffffffff : 0xffff });
    return machine;
  };

  it('32-bit operand on a 16-bit stack: the frame pointer is all of ESP, in EBP and in the frame', () => {
    const machine = machineOn(false);
    machine.load(ENTER_2, { rsp: 0x0bad9000, rbp: 0x0bad8000 });
    machine.writeU32(STACK_BASE + 0x7ffc, 0x2468ace0);
    machine.run();
    expect(machine.trapped()).toBeUndefined();
    expect(machine.gpr('rbp')).toBe(0x0bad8ffc);
    expect(machine.gpr('rsp')).toBe(0x0bad8fd4);
    expect(machine.readU32(STACK_BASE + 0x8ffc)).toBe(0x0bad8000);
    expect(machine.readU32(STACK_BASE + 0x8ff8)).toBe(0x2468ace0);
    expect(machine.readU32(STACK_BASE + 0x8ff4)).toBe(0x0bad8ffc);
  });

  it('16-bit operand on a 16-bit stack: EBP keeps its upper half', () => {
    const machine = machineOn(false);
    machine.load(Uint8Array.from([0x66, 0xc8, 0x20, 0, 0]), { rsp: 0x0bad9000, rbp: 0x12348000 });
    machine.run();
    expect(machine.gpr('rbp')).toBe(0x12348ffe);
    expect(machine.gpr('rsp')).toBe(0x0bad8fde);
  });

  it('32-bit operand on a 32-bit stack', () => {
    const machine = machineOn(true);
    machine.load(Uint8Array.from([0xc8, 0x20, 0, 1]), { rsp: 0x9000, rbp: 0x12345678 });
    machine.run();
    expect(machine.gpr('rbp')).toBe(0x8ffc);
    expect(machine.gpr('rsp')).toBe(0x8fd8);
    expect(machine.readU32(STACK_BASE + 0x8ff8)).toBe(0x8ffc);
  });
});

describe('a 16-bit stack', () => {
  it('LEAVE takes SP from BP and keeps the upper half of ESP', () => {
    const machine = fresh();
    machine.use(Seg.ss, Selector.free, { base: 0x30000, limit: 0xffff, access: 0x93, big: false });
    machine.load(Uint8Array.from([0xc9]), { rsp: 0x0bad9000, rbp: 0x1234_8000 });
    machine.writeU32(0x38000, 0xcafe0123);
    machine.run();
    expect(machine.gpr('rsp')).toBe(0x0bad8004);
    expect(machine.gpr('rbp')).toBe(0xcafe0123);
  });
});

describe('the limit of the code segment', () => {
  const LIMIT = 0x10f;
  /** Code at offset 0x100 of a segment that ends behind 0x10f. */
  const machineWith = (code: number[] | Uint8Array, kind?: keyof typeof machines): ProtectedMode => {
    const machine = fresh(kind);
    const segment = { base: CODE, limit: LIMIT, access: 0x9b, big: true };
    machine.define(Selector.free, segment);
    machine.use(Seg.cs, Selector.free, segment);
    machine.load(Uint8Array.from(code), {}, CODE + 0x100);
    return machine;
  };

  for (const kind of ['interpreted', 'compiled'] as const) {
    it(`code that runs over it is #GP(0) at the first instruction behind it, ${kind}`, () => {
      const machine = machineWith(
        Array.from({ length: 32 }, () => 0x43), // inc ebx
        kind,
      );
      machine.run();
      expect(machine.trapped()).toEqual({ vector: GP, errorCode: 0, eip: LIMIT + 1, cs: Selector.free });
      expect(machine.gpr('rbx')).toBe(16);
    });
  }

  it('an instruction that lies across it is #GP(0)', () => {
    // 14 × nop; mov eax, imm32 of whose five bytes two are within the limit
    const machine = machineWith([...Array.from({ length: 14 }, () => 0x90), 0xb8, 1, 2, 3, 4]);
    machine.run();
    expect(machine.trapped()).toEqual({ vector: GP, errorCode: 0, eip: 0x10e, cs: Selector.free });
  });

  it('a wider limit is seen by code that was decoded under the narrow one', () => {
    const machine = machineWith([...Array.from({ length: 14 }, () => 0x90), 0xb8, 1, 2, 3, 4]);
    machine.run();
    machine.use(Seg.cs, Selector.free, { base: CODE, limit: 0xffff, access: 0x9b, big: true });
    machine.vcpu.registers.rip = 0x100n as typeof machine.vcpu.registers.rip;
    machine.run();
    expect(machine.trapped()).toBeUndefined();
    expect(machine.gpr('rax')).toBe(0x04030201);
  });

  it.each([
    ['jmp', [0xeb, 0x40]],
    ['jz', [0x31, 0xc0, 0x74, 0x40]],
    ['call', [0xe8, 0x40, 0, 0, 0]],
    ['jmp eax', [0xb8, 0x10, 1, 0, 0, 0xff, 0xe0]],
    ['ret', [0x68, 0x10, 1, 0, 0, 0xc3]],
  ] as const)('%s beyond it is #GP(0) at the branch, and nothing has changed', (name, code) => {
    const machine = machineWith([...code]);
    machine.run();
    const at = { jmp: 0, jz: 2, call: 0, 'jmp eax': 5, ret: 5 }[name];
    expect(machine.trapped()).toEqual({ vector: GP, errorCode: 0, eip: 0x100 + at, cs: Selector.free });
    // Error code, EIP, CS and EFLAGS lie below what the branch found.
    expect(machine.gpr('rsp') + 16).toBe(name === 'ret' ? STACK - 4 : STACK);
  });

  it('LOOP beyond it leaves ECX as it was', () => {
    const machine = machineWith([0xb9, 5, 0, 0, 0, 0xe2, 0x40]);
    machine.run();
    expect(machine.trapped()).toEqual({ vector: GP, errorCode: 0, eip: 0x105, cs: Selector.free });
    expect(machine.gpr('rcx')).toBe(5);
  });

  it('any number of code segments: contexts are numbered anew, and each runs its own code', () => {
    const machine = fresh();
    for (let n = 0; n < 3000; n++) {
      machine.use(Seg.cs, Selector.free, { base: CODE + n, limit: 0xffff, access: 0x9b, big: true });
      machine.load(Uint8Array.from([0xb8, n & 255, n >> 8, 0, 0]), {}, CODE + n);
      machine.run();
      expect(machine.gpr('rax')).toBe(n);
    }
  });
});

describe('16-bit code', () => {
  it('IP wraps at 64 KiB where the limit allows', () => {
    const machine = fresh();
    const segment = { base: CODE, limit: 0xffffffff, access: 0x9b, big: false };
    machine.define(Selector.free, segment);
    machine.use(Seg.cs, Selector.free, segment);
    // jmp short from 0xfff0 to 0x0010
    machine.write(CODE + 0x10, Uint8Array.from([0xb8, 0x34, 0x12, 0x0f, 0x01, 0xc1]));
    machine.load(Uint8Array.from([0xeb, 0x1e]), {}, CODE + 0xfff0);
    machine.run();
    expect(machine.gpr('rax')).toBe(0x1234);
  });
});

describe('a return to ring 3', () => {
  const USER = 0x50000;
  /** IRET or RETF from ring 0 with these selectors in DS, ES, FS and GS; the user's code is a VMCALL. */
  const back = (instruction: 'iretd' | 'retf'): ProtectedMode => {
    const machine = fresh();
    machine.write(USER, Uint8Array.from([0x0f, 0x01, 0xc1]));
    // DS null 1, ES null 3, FS of ring 0, GS of ring 3
    const loads = `mov eax, 1\nmov ds, ax\nmov eax, 3\nmov es, ax\nmov eax, ${Selector.data}\nmov fs, ax\nmov eax, ${Selector.userData}\nmov gs, ax`;
    machine.load(
      code32(`${loads}
mov eax, ${Selector.userData}
push eax
push esp
${instruction === 'iretd' ? 'pushfd' : ''}
mov eax, ${Selector.userCode}
push eax
mov eax, ${USER}
push eax
${instruction === 'iretd' ? 'db 0xcf' : 'db 0xcb'}`),
    );
    machine.run();
    expect(machine.selector(Seg.cs)).toBe(Selector.userCode);
    return machine;
  };

  for (const instruction of ['iretd', 'retf'] as const) {
    it(`${instruction}: null selectors 1 to 3 become zero`, () => {
      const machine = back(instruction);
      expect(machine.selector(Seg.ds)).toBe(0);
      expect(machine.selector(Seg.es)).toBe(0);
    });
    it(`${instruction}: a segment of ring 0 becomes null, one of ring 3 stays`, () => {
      const machine = back(instruction);
      expect(machine.selector(Seg.fs)).toBe(0);
      expect(machine.selector(Seg.gs)).toBe(Selector.userData);
    });
  }
});

/** pop dword ptr fs:[esp-0x50] */
const POP_FS = Uint8Array.from([0x64, 0x8f, 0x44, 0x24, 0xb0]);

describe('what comes before the segment of a memory operand', () => {
  it('POP to memory: the stack is read first', () => {
    const machine = fresh();
    machine.useNull(Seg.fs);
    // A stack whose limit is below its pointer.
    machine.use(Seg.ss, Selector.data, { base: 0, limit: 0x7fff, access: 0x93, big: true });
    machine.load(POP_FS, { rsp: 0x9000 });
    expect(firstFault(machine)).toBe(SS);
  });

  it('POP to memory: the destination is refused once the stack was read, and ESP stays', () => {
    const machine = fresh();
    machine.useNull(Seg.fs);
    machine.load(POP_FS);
    machine.run();
    expect(machine.trapped()).toMatchObject({ vector: GP, errorCode: 0, eip: CODE });
    expect(machine.gpr('rsp') + 16).toBe(STACK);
  });

  it.each([
    ['fld dword ptr fs:[ebx]', [0xd9, 0x03]],
    ['fnstcw word ptr fs:[ebx]', [0xd9, 0x3b]],
    ['movups xmm0, fs:[ebx]', [0x0f, 0x10, 0x03]],
    ['paddb mm0, fs:[ebx]', [0x0f, 0xfc, 0x03]],
    ['fxsave fs:[ebx]', [0x0f, 0xae, 0x03]],
  ])('%s: #NM before the null segment', (_text, code) => {
    const withFs = Uint8Array.from([0x64, ...code]);
    const machine = fresh();
    machine.useNull(Seg.fs);
    machine.vcpu.registers.cr0 |= CR0_TS;
    machine.load(withFs, { rbx: DATA });
    machine.run();
    expect(machine.trapped()).toMatchObject({ vector: NM, eip: CODE });
    machine.vcpu.registers.cr0 &= ~CR0_TS;
    machine.load(withFs, { rbx: DATA });
    machine.run();
    expect(machine.trapped()).toMatchObject({ vector: GP, eip: CODE });
  });
});

/** Vector of the first fault, in ring 3: a handler's stack is then the ring 0 stack, not the broken one. */
function firstFault(machine: ProtectedMode): number {
  const { registers } = machine.vcpu;
  const cs = { base: 0, limit: 0xffffffff, access: 0xfb, big: true };
  const { base, limit } = registers.getSegment(Seg.ss);
  machine.use(Seg.cs, Selector.userCode, cs);
  machine.use(Seg.ss, Selector.userData, { base: Number(base), limit, access: 0xf3, big: true });
  machine.run();
  expect(machine.gpr('rsp')).toBeLessThan(RING0_STACK);
  return machine.trapped()!.vector;
}
