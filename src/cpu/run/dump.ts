/** Registers as Xen prints them for a domain (xen/arch/x86/x86_64/traps.c, _show_registers). */
import { FPU_FCW, FPU_FDP, FPU_FIP, FPU_FOP, FPU_FSW, FPU_FTW, FPU_MXCSR, FPU_ST, FPU_XMM } from '../fpu/state.ts';
import { topOf } from '../fpu/x87-control.ts';
import { Reg, Seg, type VcpuRegisters } from '../interface.ts';

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0');

export function dumpRegisters(r: VcpuRegisters): string {
  const g = (name: keyof typeof Reg): string => `${name.padStart(3)}: ${hex(r.getGpr(Reg[name]), 16)}`;
  const s = (name: keyof typeof Seg): string => hex(r.getSegment(Seg[name]).selector, 4);
  return [
    `RIP:    ${s('cs')}:[<${hex(r.rip, 16)}>]`,
    `RFLAGS: ${hex(r.rflags, 16)}   CONTEXT: hvm guest, CPL ${r.cpl}`,
    `${g('rax')}   ${g('rbx')}   ${g('rcx')}`,
    `${g('rdx')}   ${g('rsi')}   ${g('rdi')}`,
    `${g('rbp')}   ${g('rsp')}   ${g('r8')}`,
    `${g('r9')}   ${g('r10')}   ${g('r11')}`,
    `${g('r12')}   ${g('r13')}   ${g('r14')}`,
    `${g('r15')}   cr0: ${hex(r.cr0, 16)}   cr4: ${hex(r.cr4, 16)}`,
    `cr3: ${hex(r.cr3, 16)}   cr2: ${hex(r.cr2, 16)}   efer: ${hex(r.efer, 16)}`,
    `fsb: ${hex(r.getSegment(Seg.fs).base, 16)}   gsb: ${hex(r.getSegment(Seg.gs).base, 16)}`,
    `ds: ${s('ds')}   es: ${s('es')}   fs: ${s('fs')}   gs: ${s('gs')}   ss: ${s('ss')}   cs: ${s('cs')}`,
  ].join('\n');
}

/** An FXSAVE64 image: control state, the x87 registers that are not empty, the XMM registers that are not zero. */
export function dumpFpu(image: Uint8Array): string {
  const view = new DataView(image.buffer, image.byteOffset, image.length);
  const fsw = view.getUint16(FPU_FSW, true);
  const ftw = view.getUint8(FPU_FTW);
  const lines = [
    `fcw: ${hex(view.getUint16(FPU_FCW, true), 4)}   fsw: ${hex(fsw, 4)}   ftw: ${hex(ftw, 2)}   fop: ${hex(view.getUint16(FPU_FOP, true), 3)}` +
      `   fip: ${hex(view.getBigUint64(FPU_FIP, true), 16)}   fdp: ${hex(view.getBigUint64(FPU_FDP, true), 16)}   mxcsr: ${hex(view.getUint32(FPU_MXCSR, true), 8)}`,
  ];
  for (let i = 0; i < 8; i++) {
    if (!(ftw & (1 << ((topOf(fsw) + i) & 7)))) continue;
    const at = FPU_ST + i * 16;
    lines.push(`st${i}: ${hex(view.getUint16(at + 8, true), 4)}:${hex(view.getBigUint64(at, true), 16)}`);
  }
  for (let i = 0; i < 16; i++) {
    const at = FPU_XMM + i * 16;
    const value = (view.getBigUint64(at + 8, true) << 64n) | view.getBigUint64(at, true);
    if (value) lines.push(`xmm${i}: ${hex(value, 32)}`);
  }
  return lines.join('\n');
}
