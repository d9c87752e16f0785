/**
 * The instructions of the lock-step test: every legacy-encoded form that iced-x86 knows for the features listed
 * here and that a user-level program can run with a result the manuals define.
 */
import {
  Code,
  CodeExt,
  CpuidFeature,
  Decoder,
  DecoderOptions,
  EncodingKind,
  MandatoryPrefix,
  Mnemonic,
  OpCodeOperandKind as Operand,
  OpCodeTableKind,
} from 'iced-x86';
import type { Mode } from './case.ts';

/** Features whose instructions are tested on every x86-64 processor; ../processor.ts probes the rest. */
const baseFeatures = [
  'INTEL8086',
  'INTEL8086_ONLY',
  'INTEL186',
  'INTEL286',
  'INTEL386',
  'INTEL486',
  'X64',
  'CMOV',
  'CX8',
  'FPU',
  'FPU287',
  'FPU387',
  'MMX',
  'SSE',
  'SSE2',
  'FXSR',
  'CLFSH',
  'PAUSE',
  'MULTIBYTENOP',
] as const;

/** Instructions left out, and why. */
const leftOut: Record<string, string> = {
  Syscall: 'enters the kernel',
  Sysenter: 'enters the kernel',
  Sysexit: 'privileged',
  Sysret: 'privileged',
  Sysretq: 'privileged',
  Sysexitq: 'privileged',
  Int: 'enters the kernel',
  Int1: 'debug trap of the host',
  Into: 'vector 4: see the bare image',
  Cpuid: 'leaves to the hypervisor',
  Rdtsc: 'not reproducible',
  Rdpmc: 'not reproducible',
  Sgdt: 'host tables',
  Sidt: 'host tables',
  Sldt: 'host tables',
  Str: 'host tables',
  Smsw: 'host state',
  Lar: 'host tables',
  Lsl: 'host tables',
  Verr: 'host tables',
  Verw: 'host tables',
  Lds: 'host tables',
  Les: 'host tables',
  Lss: 'host tables',
  Lfs: 'host tables',
  Lgs: 'host tables',
  Iret: 'host tables',
  Iretd: 'host tables',
  Iretq: 'host tables',
  Retf: 'host tables',
  Arpl: 'compared in the bare image',
  Lgdt: 'privileged',
  Lidt: 'privileged',
  Lldt: 'privileged',
  Ltr: 'privileged',
  Lmsw: 'privileged',
  Invlpg: 'privileged',
  Wbinvd: 'privileged',
  Invd: 'privileged',
  Ud0: 'length differs between processors',
  Ud1: 'length differs between processors',
  Maskmovq: 'whether a masked-off byte faults differs between processors',
  Maskmovdqu: 'whether a masked-off byte faults differs between processors',
};

/** Memory images with fields that hold addresses (FIP, FDP): compared only before any other x87 instruction. */
export const environmentStores = new Set(
  ['Fnstenv', 'Fnsave', 'Fxsave', 'Fxsave64', 'Fstenv', 'Fsave'].map((name) => Mnemonic[name as keyof typeof Mnemonic]),
);
/** Results within a bound; such an instruction ends its case. */
export const reciprocals = new Set(
  ['Rcpps', 'Rcpss', 'Rsqrtps', 'Rsqrtss'].map((name) => Mnemonic[name as keyof typeof Mnemonic]),
);
export const transcendentals = new Set(
  ['Fsin', 'Fcos', 'Fsincos', 'Fptan', 'Fpatan', 'F2xm1', 'Fyl2x', 'Fyl2xp1'].map(
    (name) => Mnemonic[name as keyof typeof Mnemonic],
  ),
);

export interface Form {
  code: Code;
  name: string;
  /** Bytes of the opcode with its escapes, without prefixes. */
  opcode: number[];
  /** Legacy prefix the form needs (0x66, 0xf2, 0xf3), or 0. */
  mandatoryPrefix: number;
  /** Operand-size prefix, and REX.W. */
  operandPrefix: boolean;
  rexW: boolean;
  modrm: boolean;
  /** ModRM.reg fixed by the form, or -1. */
  group: number;
  /** ModRM.rm and mod fixed (0xc0 | rm), or -1. */
  wantsMemory: boolean;
  wantsRegister: boolean;
  /** The low three bits of the last opcode byte are a register. */
  opcodeRegister: boolean;
  immediate: number;
  /** Bytes of a relative branch target: 0 when the form is no branch. */
  branch: number;
  moffs: boolean;
  lock: boolean;
  rep: boolean;
  repne: boolean;
  cpl0: boolean;
}

const modrmKinds = new Set<Operand>([
  Operand.mem,
  Operand.r8_or_mem,
  Operand.r16_or_mem,
  Operand.r32_or_mem,
  Operand.r64_or_mem,
  Operand.mm_or_mem,
  Operand.xmm_or_mem,
  Operand.r8_reg,
  Operand.r16_reg,
  Operand.r16_reg_mem,
  Operand.r16_rm,
  Operand.r32_reg,
  Operand.r32_reg_mem,
  Operand.r32_rm,
  Operand.r64_reg,
  Operand.r64_reg_mem,
  Operand.r64_rm,
  Operand.seg_reg,
  Operand.mm_reg,
  Operand.mm_rm,
  Operand.xmm_reg,
  Operand.xmm_rm,
]);
const memoryOnly = new Set<Operand>([Operand.mem]);
const memoryOrRegister = new Set<Operand>([
  Operand.r8_or_mem,
  Operand.r16_or_mem,
  Operand.r32_or_mem,
  Operand.r64_or_mem,
  Operand.mm_or_mem,
  Operand.xmm_or_mem,
]);
const opcodeKinds = new Set<Operand>([
  Operand.r8_opcode,
  Operand.r16_opcode,
  Operand.r32_opcode,
  Operand.r64_opcode,
  Operand.sti_opcode,
]);
const immediates = new Map<Operand, number>([
  [Operand.imm8, 1],
  [Operand.imm8sex16, 1],
  [Operand.imm8sex32, 1],
  [Operand.imm8sex64, 1],
  [Operand.imm16, 2],
  [Operand.imm32, 4],
  [Operand.imm32sex64, 4],
  [Operand.imm64, 8],
]);
const branches = new Map<Operand, number>([
  [Operand.br16_1, 1],
  [Operand.br32_1, 1],
  [Operand.br64_1, 1],
  [Operand.br32_4, 4],
  [Operand.br64_4, 4],
]);
const refused = new Set<Operand>([
  Operand.farbr2_2,
  Operand.farbr4_2,
  Operand.cr_reg,
  Operand.dr_reg,
  Operand.tr_reg,
  Operand.br16_2,
  Operand.br16_1,
  Operand.bnd_reg,
  Operand.k_reg,
]);

/** Forms of one mode. `extra` names CPUID features beyond the base ('SSE3', 'POPCNT' …). */
export function forms(mode: Mode, extra: readonly string[] = []): Form[] {
  const allowed = new Set<number>([...baseFeatures, ...extra].map((name) => CpuidFeature[name as keyof typeof CpuidFeature]));
  const out: Form[] = [];
  for (let code = 1 as Code; Code[code] !== undefined; code++) {
    const info = CodeExt.opCode(code);
    const operands = Array.from({ length: info.opCount }, (_, i) => info.opKind(i));
    if (
      !info.isInstruction ||
      info.encoding !== EncodingKind.Legacy ||
      !info.isAvailableInMode(mode) ||
      info.isReservedNop ||
      info.fwait ||
      (!info.intelDecoder64 && mode === 64)
    ) {
      info.free();
      continue;
    }
    const name = Mnemonic[info.mnemonic] ?? '';
    const bytes = info.opCodeLength === 2 ? [info.opCode >>> 8, info.opCode & 0xff] : [info.opCode];
    const escape =
      info.table === OpCodeTableKind.T0F
        ? [0x0f]
        : info.table === OpCodeTableKind.T0F38
          ? [0x0f, 0x38]
          : info.table === OpCodeTableKind.T0F3A
            ? [0x0f, 0x3a]
            : [];
    const wide = info.operandSize;
    const form: Form = {
      code,
      name,
      opcode: [...escape, ...bytes],
      mandatoryPrefix:
        info.mandatoryPrefix === MandatoryPrefix.P66
          ? 0x66
          : info.mandatoryPrefix === MandatoryPrefix.PF2
            ? 0xf2
            : info.mandatoryPrefix === MandatoryPrefix.PF3
              ? 0xf3
              : 0,
      operandPrefix: wide === 16,
      rexW: mode === 64 && ((wide === 64 && !info.defaultOpSize64) || info.W === 1),
      modrm: info.isGroup || operands.some((kind) => modrmKinds.has(kind)),
      group: info.groupIndex,
      wantsMemory: operands.some((kind) => memoryOnly.has(kind)),
      wantsRegister: !operands.some((kind) => memoryOnly.has(kind) || memoryOrRegister.has(kind)),
      opcodeRegister: operands.some((kind) => opcodeKinds.has(kind)),
      immediate: operands.reduce((sum, kind) => sum + (immediates.get(kind) ?? 0), 0),
      branch: operands.reduce((sum, kind) => sum + (branches.get(kind) ?? 0), 0),
      moffs: operands.includes(Operand.mem_offs),
      lock: info.canUseLockPrefix,
      rep: info.canUseRepPrefix,
      repne: info.canUseRepnePrefix,
      cpl0: info.mustBeCpl0,
    };
    const farMemory =
      (name === 'Jmp' && info.instructionString.includes('m16:')) || (name === 'Call' && info.instructionString.includes('m16:'));
    const segmentLoad =
      (name === 'Mov' && operands[0] === Operand.seg_reg) ||
      (name === 'Pop' && operands[0] !== undefined && operands[0] >= Operand.es && operands[0] <= Operand.gs);
    const stringIo = info.isInputOutput;
    info.free();
    if (name in leftOut || form.cpl0 || farMemory || segmentLoad || stringIo || operands.some((kind) => refused.has(kind)))
      continue;
    if (name === 'Bswap' && wide === 16) continue; // undefined
    if ((name === 'Shld' || name === 'Shrd') && wide === 16 && form.immediate === 0) continue; // undefined for counts past 16
    if (name === 'Mov' && operands.includes(Operand.seg_reg) && wide === 0) continue;
    if (
      (wide === 16 && form.branch !== 0) ||
      (wide === 16 && mode === 64 && (name === 'Ret' || name === 'Call' || name === 'Jmp'))
    )
      continue; // near branches ignore 66 on Intel, not on AMD
    if (!featuresAllowed(mode, form, allowed)) continue;
    out.push(form);
  }
  return out;
}

/** Decodes a sample of the form to see which CPUID features it needs. */
function featuresAllowed(mode: Mode, form: Form, allowed: ReadonlySet<number>): boolean {
  const bytes: number[] = [];
  if (form.mandatoryPrefix) bytes.push(form.mandatoryPrefix);
  if (form.operandPrefix) bytes.push(0x66);
  if (form.rexW) bytes.push(0x48);
  bytes.push(...form.opcode);
  if (form.modrm) bytes.push((form.wantsMemory ? 0 : 0xc0) | (Math.max(form.group, 0) << 3));
  const decoder = new Decoder(mode, Uint8Array.from([...bytes, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), DecoderOptions.None);
  const instruction = decoder.decode();
  const features = [...instruction.cpuidFeatures()];
  const same = instruction.code === form.code;
  instruction.free();
  decoder.free();
  return same && features.every((feature) => allowed.has(feature));
}
