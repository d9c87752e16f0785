/** Registers as Xen prints them for a domain (xen/arch/x86/x86_64/traps.c, _show_registers). */
import { Reg, Seg, type VcpuRegisters } from './interface.ts';

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
