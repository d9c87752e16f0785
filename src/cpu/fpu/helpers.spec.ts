import { describe, expect, it } from 'vitest';
import {
  CB_CR0,
  CB_CR4,
  CB_FPU,
  CB_GPR,
  CB_RFLAGS,
  CB_SEG,
  CB_SIZE,
  Cr0,
  Cr4,
  Flag,
  SEG_SIZE,
  Vector,
} from '../memory/control-block.ts';
import { Reg, Seg } from '../interface.ts';
import { EXTRA_ASIZE_SHIFT, REC_AUX, REC_EXTRA, REC_RIP } from '../records/record.ts';
import { FpuHelpers, type FpuHost } from './helpers.ts';
import {
  FPU_ENVIRONMENT,
  FPU_FCW,
  FPU_FDP,
  FPU_FIP,
  FPU_FOP,
  FPU_FSW,
  FPU_FTW,
  FPU_FXSAVE,
  FPU_MXCSR,
  FPU_OPERAND,
  FPU_OPERAND_POINTER,
  FPU_SSE_A,
  FPU_SSE_B,
  FPU_ST,
  FPU_XMM,
  Fsw,
} from './state.ts';
import { x87OperationNumber } from './x87-operations.ts';

const RECORD = CB_SIZE;

class Host implements FpuHost {
  readonly cb = { base: 0, u8: new Uint8Array(CB_SIZE + 64) };
  readonly view = new DataView(this.cb.u8.buffer);
  readonly record = RECORD;
  readonly data = new Uint8Array(16);
  readonly stores: [linear: number, byte: number][] = [];
  code64 = true;

  raise(vector: number): never {
    throw new Error(`vector ${vector}`);
  }
  segmentAddress(seg: number, offset: number): number {
    return seg * 0x1000000 + offset;
  }
  store(linear: number): void {
    this.stores.push([linear, this.data[0]!]);
  }

  u16(offset: number): number {
    return this.view.getUint16(CB_FPU + offset, true);
  }
  u32(offset: number): number {
    return this.view.getUint32(CB_FPU + offset, true);
  }
  set32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true);
  }
}

function setUp() {
  const host = new Host();
  const helpers = new FpuHelpers(host);
  helpers.reset();
  const table = helpers.table();
  host.set32(CB_CR0, Cr0.pe);
  host.set32(CB_CR4, Cr4.osfxsr | Cr4.osxmmexcpt);
  const x87 = (name: string, escape = 0xd8) => table.x87(x87OperationNumber(name) | ((escape & 7) << 16));
  return { host, table, x87 };
}

describe('availability', () => {
  const outcome = (call: () => number): string => {
    try {
      call();
      return 'runs';
    } catch (error) {
      return (error as Error).message;
    }
  };
  it.each([
    [0, 'runs', 'runs', 'runs', 'runs'],
    [Cr0.ts, 'vector 7', 'vector 7', 'vector 7', 'runs'],
    [Cr0.ts | Cr0.mp, 'vector 7', 'vector 7', 'vector 7', 'vector 7'],
    [Cr0.em, 'vector 7', 'vector 6', 'vector 6', 'runs'],
    [Cr0.em | Cr0.ts, 'vector 7', 'vector 6', 'vector 6', 'runs'],
  ])('CR0 %i', (cr0, x87, mmx, sse, fwait) => {
    const { host, table } = setUp();
    host.set32(CB_CR0, Cr0.pe | cr0);
    expect(
      [table.x87NotAvailable, table.mmxNotAvailable, table.sseNotAvailable, table.fwait].map((f) => outcome(() => f(0))),
    ).toEqual([x87, mmx, sse, fwait]);
  });
  it('a pending exception is #MF for x87, MMX and FWAIT', () => {
    const { host, table, x87 } = setUp();
    x87('fninit');
    host.view.setUint16(CB_FPU + FPU_FCW, 0x37e, true);
    x87('fchs'); // stack underflow
    expect(host.u16(FPU_FSW) & Fsw.summary).toBe(Fsw.summary);
    expect(
      [table.x87NotAvailable, table.mmxNotAvailable, table.fwait, table.sseNotAvailable].map((f) => outcome(() => f(0))),
    ).toEqual([`vector ${Vector.mf}`, `vector ${Vector.mf}`, `vector ${Vector.mf}`, 'runs']);
  });
  it('SSE without CR4.OSFXSR is #UD; its exceptions without OSXMMEXCPT too', () => {
    const { host, table } = setUp();
    host.set32(CB_CR4, 0);
    expect(outcome(() => table.sseNotAvailable(0))).toBe('vector 6');
    host.set32(CB_FPU + FPU_MXCSR, 0);
    expect(outcome(() => table.sseExact(3))).toBe('runs'); // 0 + 0
    host.set32(CB_FPU + FPU_SSE_A, 0x7f800001);
    expect(outcome(() => table.sseExact(0))).toBe('vector 6');
    host.set32(CB_CR4, Cr4.osxmmexcpt);
    expect(outcome(() => table.sseExact(0))).toBe('vector 19');
  });
});

describe('state', () => {
  it('after power-up and after FNINIT', () => {
    const { host, x87 } = setUp();
    expect([host.u16(FPU_FCW), host.u16(FPU_FSW), host.u16(FPU_FTW), host.u32(FPU_MXCSR)]).toEqual([0x40, 0, 0xff, 0x1f80]);
    x87('fninit');
    expect([host.u16(FPU_FCW), host.u16(FPU_FTW)]).toEqual([0x37f, 0]);
  });

  it('an unmasked exception records opcode, instruction and operand; the operand as an offset in its segment', () => {
    const { host, x87 } = setUp();
    x87('fninit');
    host.code64 = false;
    host.view.setUint16(CB_FPU + FPU_FCW, 0x37e, true);
    host.view.setBigUint64(RECORD + REC_RIP, 0x1234n, true);
    host.cb.u8[RECORD + REC_AUX] = 0x03;
    host.cb.u8[RECORD + REC_EXTRA] = Seg.ss;
    host.view.setBigUint64(CB_SEG + Seg.ss * SEG_SIZE, 0x10000n, true);
    host.view.setBigUint64(CB_FPU + FPU_OPERAND_POINTER, 0x10020n, true);
    x87('fadd m32fp', 0xd8); // on an empty stack
    expect([host.u16(FPU_FOP), host.u32(FPU_FIP), host.u32(FPU_FDP)]).toEqual([0x003, 0x1234, 0x20]);
  });

  it('FNSTENV in its four layouts, and back by FLDENV', () => {
    const expected: Record<string, [cr0: number, form: string, words: number[]]> = {
      protected32: [Cr0.pe, 'protected32', [0xffff037f, 0xffff3800, 0xffff3fff, 0x12345, 0x1230000, 0x54321, 0xffff0000]],
      real32: [0, 'protected32', [0xffff037f, 0xffff3800, 0xffff3fff, 0x2345, 0x1123, 0xffff4321, 0x5000]],
    };
    for (const [cr0, form, words] of Object.values(expected)) {
      const { host, table, x87 } = setUp();
      x87('fninit');
      x87('fld1');
      host.set32(CB_FPU + FPU_FIP, 0x12345);
      host.set32(CB_FPU + FPU_FDP, 0x54321);
      host.view.setUint16(CB_FPU + FPU_FOP, 0x123, true);
      host.set32(CB_CR0, cr0);
      const store = x87OperationNumber(`fnstenv ${form}`);
      table.x87Environment(store);
      expect(words.map((_, i) => host.u32(FPU_ENVIRONMENT + i * 4))).toEqual(words);
      host.view.setUint16(CB_FPU + FPU_FCW, 0x340, true);
      table.x87Stored(store);
      expect(host.u16(FPU_FCW)).toBe(0x37f);
      x87('fninit');
      table.x87Environment(x87OperationNumber(`fldenv ${form}`));
      expect([host.u16(FPU_FSW), host.u16(FPU_FTW), host.u32(FPU_FIP), host.u32(FPU_FDP), host.u16(FPU_FOP)]).toEqual([
        0x3800, 0x80, 0x12345, 0x54321, 0x123,
      ]);
    }
  });
  it('FNSTENV of virtual-8086 mode, 16 bits', () => {
    const { host, table, x87 } = setUp();
    x87('fninit');
    host.set32(CB_RFLAGS, Flag.vm);
    host.set32(CB_FPU + FPU_FIP, 0x12345);
    host.set32(CB_FPU + FPU_FDP, 0x54321);
    host.view.setUint16(CB_FPU + FPU_FOP, 0x123, true);
    table.x87Environment(x87OperationNumber('fnstenv protected16'));
    expect([0, 2, 4, 6, 8, 10, 12].map((at) => host.u16(FPU_ENVIRONMENT + at))).toEqual([
      0x37f, 0, 0xffff, 0x2345, 0x1123, 0x4321, 0x5000,
    ]);
  });

  it('FXSAVE gives registers from the top of the stack; FXRSTOR takes them back', () => {
    const { host, table, x87 } = setUp();
    x87('fninit');
    x87('fldpi');
    x87('fld1');
    host.set32(CB_FPU + FPU_XMM + 15 * 16, 0xdeadbeef);
    const before = host.cb.u8.slice(CB_FPU, CB_FPU + 416);
    table.fxsave(3);
    expect(host.view.getBigUint64(CB_FPU + FPU_FXSAVE + FPU_ST, true)).toBe(1n << 63n); // ST(0) = 1
    expect(host.u16(FPU_FXSAVE + FPU_ST + 16 + 8)).toBe(0x4000); // ST(1) = pi
    expect([host.u32(FPU_FXSAVE + FPU_XMM + 15 * 16), host.u32(FPU_FXSAVE + 28)]).toEqual([0xdeadbeef, 0xffff]);
    x87('fninit');
    host.cb.u8.fill(0, CB_FPU + FPU_ST, CB_FPU + 416);
    table.fxrstor(3);
    expect(host.cb.u8.slice(CB_FPU, CB_FPU + 416)).toEqual(before);
  });
  it('FXRSTOR refuses reserved bits of MXCSR and changes nothing', () => {
    const { host, table } = setUp();
    const before = host.cb.u8.slice(CB_FPU, CB_FPU + 416);
    host.set32(CB_FPU + FPU_FXSAVE + FPU_MXCSR, 0x10000);
    expect(() => table.fxrstor(3)).toThrow('vector 13');
    expect(host.cb.u8.slice(CB_FPU, CB_FPU + 416)).toEqual(before);
  });

  it('a store pops only once memory is written', () => {
    const { host, table, x87 } = setUp();
    x87('fninit');
    x87('fld1');
    x87('fstp m64fp', 0xdd);
    expect([host.view.getBigUint64(CB_FPU + FPU_OPERAND, true), host.u16(FPU_FSW) & Fsw.top]).toEqual([
      0x3ff0000000000000n,
      0x3800,
    ]);
    table.x87Stored(x87OperationNumber('fstp m64fp'));
    expect([host.u16(FPU_FSW) & Fsw.top, host.u16(FPU_FTW)]).toEqual([0, 0]);
  });
});

describe('MASKMOVDQU', () => {
  it.each([
    [true, 2, 0xffff_ffff_ffff_fffen, -2],
    [true, 1, 0x1_ffff_fffen, 0xfffffffe],
    [false, 0, 0x1fffen, Seg.es * 0x1000000 + 0xfffe],
  ])('64-bit code %s, address size %i', (code64, size, rdi, first) => {
    const { host, table } = setUp();
    host.code64 = code64;
    host.cb.u8[RECORD + REC_EXTRA] = Seg.es | (size << EXTRA_ASIZE_SHIFT);
    host.view.setBigUint64(CB_GPR + Reg.rdi * 8, rdi, true);
    for (const [i, mask] of [
      [0, 0x80],
      [1, 0x7f],
      [3, 0xff],
    ] as const)
      host.cb.u8[CB_FPU + FPU_SSE_B + i] = mask;
    host.cb.u8.set([10, 11, 12, 13], CB_FPU + FPU_SSE_A);
    table.maskedStore(16);
    // The fourth byte's offset wraps at the address size.
    expect(host.stores).toEqual([
      [first, 10],
      [code64 ? 1 : Seg.es * 0x1000000 + 1, 13],
    ]);
  });
});
