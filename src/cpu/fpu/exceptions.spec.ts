import { describe, expect, it } from 'vitest';
import { mfn } from '../../base/address.ts';
import { Cr0, Cr4, Vector } from '../memory/control-block.ts';
import { ExitReason, Reg } from '../interface.ts';
import { BenchMachine, CODE_GPA } from '../testing/bench-machine.ts';

const IDT = 0x90000;
const HANDLERS = 0x91000;
const GDT = 0x92000;

const machine = new BenchMachine();

/** Runs code at CPL 0 with these control registers until an exception's handler; gives the vector, and RIP's offset in the code. */
function vectorOf(code: readonly number[], cr0 = 0, cr4 = Cr4.osfxsr | Cr4.osxmmexcpt): [vector: number, offset: number] {
  const m = machine;
  m.vcpu.reset();
  m.enterLongMode([...code, 0x0f, 0x01, 0xc1]);
  for (let v = 0; v < 32; v++) {
    const handler = HANDLERS + v * 16;
    // mov al,v; vmcall
    m.write(handler, [0xb0, v, 0x0f, 0x01, 0xc1]);
    m.writeU64(IDT + v * 16, BigInt(handler & 0xffff) | (8n << 16n) | (0x8e00n << 32n) | (BigInt(handler >>> 16) << 48n));
    m.writeU64(IDT + v * 16 + 8, 0n);
  }
  for (const address of [CODE_GPA, HANDLERS]) m.vcpu.invalidateCode(mfn(m.mfnOf(address >> 12)));
  const { registers } = m.vcpu;
  m.writeU64(GDT + 8, 0x00af9b000000ffffn);
  m.writeU64(GDT + 16, 0x00cf93000000ffffn);
  registers.gdtrBase = BigInt(GDT);
  registers.gdtrLimit = 0x17;
  registers.idtrBase = BigInt(IDT);
  registers.idtrLimit = 0x1ff;
  m.vcpu.writeCr(0, BigInt(((registers.cr0 & ~Cr0.mp) | cr0 | Cr0.ne) >>> 0));
  m.vcpu.writeCr(4, BigInt((registers.cr4 & ~(Cr4.osfxsr | Cr4.osxmmexcpt)) | cr4));
  registers.setGpr(Reg.rax, 0xffn);
  expect(m.vcpu.run(1000)).toBe(ExitReason.vmcall);
  const vector = Number(registers.getGpr(Reg.rax) & 0xffn);
  if (vector === 0xff) return [-1, 0];
  // Vectors with an error code have it below RIP on the stack.
  const stack = Number(registers.getGpr(Reg.rsp)) + (vector === Vector.gp ? 8 : 0);
  return [vector, Number(m.readU64(stack)) - CODE_GPA];
}

const FLD1 = [0xd9, 0xe8];
const FNINIT = [0xdb, 0xe3];
const PADDD_MM = [0x0f, 0xfe, 0xc1];
const ADDPS = [0x0f, 0x58, 0xc1];
const FWAIT = [0x9b];
/** mov dword [0x80000], value; then fldcw or ldmxcsr of it */
const putDword = (value: number) => [
  0xc7,
  0x04,
  0x25,
  0,
  0,
  8,
  0,
  value & 0xff,
  (value >> 8) & 0xff,
  (value >> 16) & 0xff,
  value >>> 24,
];
const LDMXCSR = [0x0f, 0xae, 0x14, 0x25, 0, 0, 8, 0];
const FLDCW = [0xd9, 0x2c, 0x25, 0, 0, 8, 0];

describe('exceptions of x87, MMX and SSE reach their handlers', () => {
  it.each<[string, number[], number, number, [number, number]]>([
    ['nothing in the way', [...FNINIT, ...FLD1, ...PADDD_MM, ...ADDPS, ...FWAIT], 0, Cr4.osfxsr, [-1, 0]],
    ['x87 with TS', FLD1, Cr0.ts, Cr4.osfxsr, [Vector.nm, 0]],
    ['x87 with EM', FLD1, Cr0.em, Cr4.osfxsr, [Vector.nm, 0]],
    ['FWAIT with MP and TS', FWAIT, Cr0.ts | Cr0.mp, Cr4.osfxsr, [Vector.nm, 0]],
    ['FWAIT with TS alone', FWAIT, Cr0.ts, Cr4.osfxsr, [-1, 0]],
    ['MMX with TS', PADDD_MM, Cr0.ts, Cr4.osfxsr, [Vector.nm, 0]],
    ['MMX with EM', PADDD_MM, Cr0.em, Cr4.osfxsr, [Vector.ud, 0]],
    ['SSE with TS', ADDPS, Cr0.ts, Cr4.osfxsr, [Vector.nm, 0]],
    ['SSE without OSFXSR', ADDPS, 0, 0, [Vector.ud, 0]],
    ['FXSAVE with TS', [0x0f, 0xae, 0x04, 0x25, 0, 0, 8, 0], Cr0.ts, Cr4.osfxsr, [Vector.nm, 0]],
    ['FXSAVE misaligned', [0x0f, 0xae, 0x04, 0x25, 8, 0, 8, 0], 0, Cr4.osfxsr, [Vector.gp, 0]],
    ['MOVAPS misaligned', [0x0f, 0x28, 0x04, 0x25, 8, 0, 8, 0], 0, Cr4.osfxsr, [Vector.gp, 0]],
    ['MOVUPS misaligned', [0x0f, 0x10, 0x04, 0x25, 8, 0, 8, 0], 0, Cr4.osfxsr, [-1, 0]],
    ['MXCSR with a reserved bit', [...putDword(0x11f80), ...LDMXCSR], 0, Cr4.osfxsr, [Vector.gp, 11]],
    // An unmasked x87 exception waits for the next waiting instruction: fldcw 340; fldz; fld1; fdiv st,st1; fnop
    [
      'x87 division by zero, unmasked',
      [...FNINIT, ...putDword(0x340), ...FLDCW, 0xd9, 0xee, ...FLD1, 0xd8, 0xf1, 0xd9, 0xd0],
      0,
      Cr4.osfxsr,
      [Vector.mf, 26],
    ],
    [
      'an SSE division by zero, unmasked',
      [...putDword(0), ...LDMXCSR, 0x0f, 0x57, 0xc9, 0xf3, 0x0f, 0x2a, 0xc4, 0xf3, 0x0f, 0x5e, 0xc1],
      0,
      Cr4.osfxsr | Cr4.osxmmexcpt,
      [Vector.xm, 26],
    ],
    [
      'the same without OSXMMEXCPT',
      [...putDword(0), ...LDMXCSR, 0x0f, 0x57, 0xc9, 0xf3, 0x0f, 0x2a, 0xc4, 0xf3, 0x0f, 0x5e, 0xc1],
      0,
      Cr4.osfxsr,
      [Vector.ud, 26],
    ],
    ['SSE3 is not there', [0xf2, 0x0f, 0x7c, 0xc1], 0, Cr4.osfxsr, [Vector.ud, 0]],
    ['FISTTP is not there', [0xdb, 0x0c, 0x25, 0, 0, 8, 0], 0, Cr4.osfxsr, [Vector.ud, 0]],
  ])('%s', (_what, code, cr0, cr4, expected) => {
    expect(vectorOf(code, cr0, cr4)).toEqual(expected);
  });
});
