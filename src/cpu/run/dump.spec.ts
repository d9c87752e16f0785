import { describe, expect, it } from 'vitest';
import { dumpFpu } from './dump.ts';
import { ExitReason } from '../interface.ts';
import { BenchMachine } from '../testing/bench-machine.ts';

describe('FPU registers of a stopped vCPU', () => {
  const m = new BenchMachine();
  // fninit; fldpi; fld1; mov eax,0x3f800000; movd xmm3,eax; vmcall
  m.enterLongMode([0xdb, 0xe3, 0xd9, 0xeb, 0xd9, 0xe8, 0xb8, 0, 0, 0x80, 0x3f, 0x66, 0x0f, 0x6e, 0xd8, 0x0f, 0x01, 0xc1]);
  m.vcpu.writeCr(4, 0x620n); // PAE, OSFXSR, OSXMMEXCPT
  const reason = m.vcpu.run(100);
  const { registers } = m.vcpu;

  it('are printed: what is not empty, what is not zero', () => {
    expect(reason).toBe(ExitReason.vmcall);
    expect(dumpFpu(registers.fpuRegs).split('\n')).toEqual([
      'fcw: 037f   fsw: 3000   ftw: c0   fop: 000   fip: 0000000000010004   fdp: 0000000000000000   mxcsr: 00001f80',
      'st0: 3fff:8000000000000000',
      'st1: 4000:c90fdaa22168c235',
      'xmm3: 0000000000000000000000003f800000',
    ]);
    expect(m.vcpu.dump()).toContain('st1: 4000:c90fdaa22168c235');
  });
  it('can be written back; a bad image is refused', () => {
    const saved = registers.fpuRegs;
    registers.fpuRegs = new Uint8Array(512);
    expect(dumpFpu(registers.fpuRegs)).toContain('ftw: 00');
    registers.fpuRegs = saved;
    expect(registers.fpuRegs).toEqual(saved);
    expect(() => {
      registers.fpuRegs = new Uint8Array(108);
    }).toThrow(RangeError);
    saved[26] = 1;
    expect(() => {
      registers.fpuRegs = saved;
    }).toThrow('MXCSR');
  });
});
