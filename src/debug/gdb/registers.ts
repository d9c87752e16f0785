/** The vCPU's registers as GDB numbers them, and the target description that says so. Source: the GDB manual, appendix G.5.3 (i386 features). */
import { Reg, Seg, type VcpuRegisters } from '../../cpu/interface.ts';
import { gva } from '../../base/address.ts';

interface GdbRegister {
  readonly name: string;
  readonly bits: number;
  readonly type: string;
  /** The register's bytes, little-endian. */
  read(from: VcpuRegisters): Uint8Array;
  /** Left out: it cannot be written. */
  write?(to: VcpuRegisters, bytes: Uint8Array): void;
}

const bytesOf = (value: bigint, size: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
const valueOf = (bytes: Uint8Array): bigint => bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);

const gpr = (name: keyof typeof Reg): GdbRegister => ({
  name,
  bits: 64,
  type: name === 'rsp' || name === 'rbp' ? 'data_ptr' : 'int64',
  read: (r) => bytesOf(r.getGpr(Reg[name]), 8),
  write: (r, bytes) => r.setGpr(Reg[name], valueOf(bytes)),
});
const selector = (name: 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs'): GdbRegister => ({
  name,
  bits: 32,
  type: 'int32',
  read: (r) => bytesOf(BigInt(r.getSegment(Seg[name]).selector), 4),
});
/** A field of the FXSAVE image. */
const fpu = (name: string, bits: number, type: string, read: (image: Uint8Array) => Uint8Array): GdbRegister => ({
  name,
  bits,
  type,
  read: (r) => read(r.fpuRegs),
});
const word = (at: number, size: number) => (image: Uint8Array) => bytesOf(valueOf(image.subarray(at, at + size)), 4);
const control = (name: string, read: (r: VcpuRegisters) => bigint): GdbRegister => ({
  name,
  bits: 64,
  type: 'int64',
  read: (r) => bytesOf(read(r), 8),
});

const core: readonly GdbRegister[] = [
  ...(
    ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const
  ).map(gpr),
  {
    name: 'rip',
    bits: 64,
    type: 'code_ptr',
    read: (r) => bytesOf(linearRip(r), 8),
    write: (r, bytes) => {
      r.rip = gva(valueOf(bytes) - (linearRip(r) - r.rip));
    },
  },
  {
    name: 'eflags',
    bits: 32,
    type: 'i386_eflags',
    read: (r) => bytesOf(BigInt(r.rflags), 4),
    write: (r, bytes) => {
      r.rflags = Number(valueOf(bytes));
    },
  },
  ...(['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const).map(selector),
  ...Array.from({ length: 8 }, (_, i) => fpu(`st${i}`, 80, 'i387_ext', (image) => image.slice(32 + 16 * i, 42 + 16 * i))),
  fpu('fctrl', 32, 'int', word(0, 2)),
  fpu('fstat', 32, 'int', word(2, 2)),
  fpu('ftag', 32, 'int', word(4, 1)),
  fpu('fiseg', 32, 'int', word(12, 2)),
  fpu('fioff', 32, 'int', word(8, 4)),
  fpu('foseg', 32, 'int', word(20, 2)),
  fpu('fooff', 32, 'int', word(16, 4)),
  fpu('fop', 32, 'int', word(6, 2)),
];
const sse: readonly GdbRegister[] = [
  ...Array.from({ length: 16 }, (_, i) => fpu(`xmm${i}`, 128, 'vec128', (image) => image.slice(160 + 16 * i, 176 + 16 * i))),
  fpu('mxcsr', 32, 'i386_mxcsr', word(24, 4)),
];
const segments: readonly GdbRegister[] = [
  control('fs_base', (r) => r.getSegment(Seg.fs).base),
  control('gs_base', (r) => r.getSegment(Seg.gs).base),
];
const system: readonly GdbRegister[] = [
  control('cr0', (r) => BigInt(r.cr0 >>> 0)),
  control('cr2', (r) => r.cr2),
  control('cr3', (r) => r.cr3),
  control('cr4', (r) => BigInt(r.cr4 >>> 0)),
  control('cr8', (r) => BigInt(r.cr8)),
  control('efer', (r) => BigInt(r.efer >>> 0)),
];

/** In the order of their numbers. */
export const gdbRegisters: readonly GdbRegister[] = [...core, ...sse, ...segments, ...system];

/** GDB's program counter is a linear address: outside 64-bit mode the code segment's base counts. */
export function linearRip(registers: VcpuRegisters): bigint {
  const cs = registers.getSegment(Seg.cs);
  const long = (registers.efer & 0x400) !== 0 && (cs.accessRights & 0x2000) !== 0;
  return long ? registers.rip : (cs.base + registers.rip) & 0xffff_ffffn;
}

const feature = (name: string, registers: readonly GdbRegister[], types = ''): string =>
  `<feature name="org.gnu.gdb.i386.${name}">${types}${registers
    .map((r) => `<reg name="${r.name}" bitsize="${r.bits}" type="${r.type}"/>`)
    .join('')}</feature>`;

const EFLAGS = `<flags id="i386_eflags" size="4">${(
  [
    ['CF', 0],
    ['PF', 2],
    ['AF', 4],
    ['ZF', 6],
    ['SF', 7],
    ['TF', 8],
    ['IF', 9],
    ['DF', 10],
    ['OF', 11],
    ['NT', 14],
    ['RF', 16],
    ['VM', 17],
    ['AC', 18],
    ['ID', 21],
  ] as const
)
  .map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`)
  .join('')}</flags>`;
const VECTORS =
  '<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/><vector id="v16i8" type="int8" count="16"/>' +
  '<vector id="v8i16" type="int16" count="8"/><vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>' +
  '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/><field name="v16_int8" type="v16i8"/>' +
  '<field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>' +
  '<field name="uint128" type="uint128"/></union><flags id="i386_mxcsr" size="4"><field name="IE" start="0" end="0"/></flags>';

export const targetDescription =
  '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0"><architecture>i386:x86-64</architecture>' +
  feature('core', core, EFLAGS) +
  feature('sse', sse, VECTORS) +
  feature('segments', segments) +
  `<feature name="xenolith.system">${system.map((r) => `<reg name="${r.name}" bitsize="64" type="int64"/>`).join('')}</feature></target>`;
