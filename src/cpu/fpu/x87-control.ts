/**
 * x87 environment and state in memory: FNSTENV, FLDENV, FNSAVE, FRSTOR, FXSAVE, FXRSTOR (SDM vol. 1, 8.1.10, 10.5).
 * CS and DS selectors of the pointers are always zero, as CPUID.7.EBX[13] says.
 */
import { extended80, unpack } from '../softfloat/format.ts';
import { FPU_MXCSR, FPU_ST, FPU_XMM, FSW_TOP_SHIFT, MXCSR_MASK } from './state.ts';
import type { X87 } from './x87.ts';

/** Layout of FNSTENV's image: 16 or 32 bits, protected or real-address mode. 64-bit mode has the 32-bit protected one. */
export interface EnvironmentFormat {
  readonly wide: boolean;
  readonly real: boolean;
}
const environmentSize = (format: EnvironmentFormat): number => (format.wide ? 28 : 14);

/** Tag word with two bits a register: 0 valid, 1 zero, 2 special, 3 empty. */
function tagWord(f: X87): number {
  let word = 0;
  for (let physical = 0; physical < 8; physical++) {
    let tag = 3;
    if (f.valid & (1 << physical)) {
      const at = f.base + FPU_ST + physical * 16;
      const bits = f.view.getBigUint64(at, true) | (BigInt(f.view.getUint16(at + 8, true)) << 64n);
      const value = unpack(extended80, bits);
      tag = value.kind === 'zero' ? 1 : value.kind === 'finite' && !value.denormal ? 0 : 2;
    }
    word |= tag << (physical * 2);
  }
  return word;
}

function setTagWord(f: X87, word: number): void {
  let valid = 0;
  for (let physical = 0; physical < 8; physical++) if (((word >> (physical * 2)) & 3) !== 3) valid |= 1 << physical;
  f.valid = valid;
}

/** FNSTENV: the image at `at` of `view`. The instruction masks all exceptions once the image is in memory. */
export function storeEnvironment(f: X87, view: DataView, at: number, format: EnvironmentFormat): void {
  const ip = Number(BigInt.asUintN(32, f.fip));
  const dp = Number(BigInt.asUintN(32, f.fdp));
  const words = [f.fcw, f.fsw, tagWord(f)];
  if (format.wide) {
    words.forEach((word, i) => view.setUint32(at + i * 4, 0xffff0000 + word, true));
    view.setUint32(at + 12, format.real ? ip & 0xffff : ip, true);
    view.setUint32(at + 16, format.real ? ((ip >>> 16) << 12) | f.fop : f.fop << 16, true);
    view.setUint32(at + 20, format.real ? (dp & 0xffff) + 0xffff0000 : dp, true);
    view.setUint32(at + 24, format.real ? (dp >>> 16) << 12 : 0xffff0000, true);
  } else {
    words.forEach((word, i) => view.setUint16(at + i * 2, word, true));
    view.setUint16(at + 6, ip, true);
    view.setUint16(at + 8, format.real ? ((ip >>> 4) & 0xf000) | f.fop : 0, true);
    view.setUint16(at + 10, dp, true);
    view.setUint16(at + 12, format.real ? (dp >>> 4) & 0xf000 : 0, true);
  }
}

export function maskAll(f: X87): void {
  f.fcw |= 0x3f;
  f.summarize();
}

/** FLDENV. */
export function loadEnvironment(f: X87, view: DataView, at: number, format: EnvironmentFormat): void {
  const step = format.wide ? 4 : 2;
  f.fcw = (view.getUint16(at, true) & 0x1f3f) | 0x40;
  f.fsw = view.getUint16(at + step, true);
  setTagWord(f, view.getUint16(at + 2 * step, true));
  let ip: number;
  let dp: number;
  let fop: number;
  if (format.wide) {
    const second = view.getUint32(at + 16, true);
    ip = format.real ? (view.getUint16(at + 12, true) | ((second >>> 12) << 16)) >>> 0 : view.getUint32(at + 12, true);
    fop = format.real ? second & 0x7ff : (second >>> 16) & 0x7ff;
    dp = format.real
      ? (view.getUint16(at + 20, true) | ((view.getUint32(at + 24, true) >>> 12) << 16)) >>> 0
      : view.getUint32(at + 20, true);
  } else {
    const second = view.getUint16(at + 8, true);
    ip = view.getUint16(at + 6, true) | (format.real ? (second & 0xf000) << 4 : 0);
    fop = format.real ? second & 0x7ff : 0;
    dp = view.getUint16(at + 10, true) | (format.real ? (view.getUint16(at + 12, true) & 0xf000) << 4 : 0);
  }
  f.fip = BigInt(ip);
  f.fdp = BigInt(dp);
  f.fop = fop;
  f.summarize();
}

/** FNSAVE: environment, then ST(0) to ST(7) of 10 bytes each. FNINIT follows once it is in memory. */
export function save(f: X87, view: DataView, at: number, format: EnvironmentFormat): void {
  storeEnvironment(f, view, at, format);
  for (let i = 0; i < 8; i++) {
    const bits = f.bits(i);
    const to = at + environmentSize(format) + i * 10;
    view.setBigUint64(to, BigInt.asUintN(64, bits), true);
    view.setUint16(to + 8, Number(bits >> 64n), true);
  }
}

export function restore(f: X87, view: DataView, at: number, format: EnvironmentFormat): void {
  loadEnvironment(f, view, at, format);
  const { valid } = f;
  for (let i = 0; i < 8; i++) {
    const from = at + environmentSize(format) + i * 10;
    f.write(i, view.getBigUint64(from, true) | (BigInt(view.getUint16(from + 8, true)) << 64n));
  }
  f.valid = valid;
}

const copyWords = (from: DataView, source: number, to: DataView, target: number, bytes: number): void => {
  for (let i = 0; i < bytes; i += 4) to.setUint32(target + i, from.getUint32(source + i, true), true);
};

/** FXSAVE. `wide`: REX.W, 64-bit pointers; `xmm`: registers the mode can name (8 or 16). Bytes 416 up are not written. */
export function fxsave(f: X87, view: DataView, at: number, wide: boolean, xmm: number): void {
  copyWords(f.view, f.base, view, at, 32);
  view.setUint8(at + 5, 0);
  if (!wide) {
    view.setUint32(at + 12, 0, true);
    view.setUint32(at + 20, 0, true);
  }
  view.setUint32(at + 28, MXCSR_MASK, true);
  const { top } = f;
  for (let i = 0; i < 8; i++) copyWords(f.view, f.base + FPU_ST + ((top + i) & 7) * 16, view, at + FPU_ST + i * 16, 16);
  copyWords(f.view, f.base + FPU_XMM, view, at + FPU_XMM, xmm * 16);
}

/** FXRSTOR. False (#GP) when MXCSR has a reserved bit; nothing changed then. */
export function fxrstor(f: X87, view: DataView, at: number, wide: boolean, xmm: number): boolean {
  const mxcsr = view.getUint32(at + FPU_MXCSR, true);
  if (mxcsr & ~MXCSR_MASK) return false;
  copyWords(view, at, f.view, f.base, 28);
  f.fcw = (view.getUint16(at, true) & 0x1f3f) | 0x40;
  f.fop = view.getUint16(at + 6, true) & 0x7ff;
  if (!wide) {
    f.view.setUint32(f.base + 12, 0, true);
    f.view.setUint32(f.base + 20, 0, true);
  }
  const { top } = f;
  for (let i = 0; i < 8; i++) {
    const to = f.base + FPU_ST + ((top + i) & 7) * 16;
    copyWords(view, at + FPU_ST + i * 16, f.view, to, 8);
    f.view.setUint32(to + 8, view.getUint16(at + FPU_ST + i * 16 + 8, true), true);
    f.view.setUint32(to + 12, 0, true);
  }
  copyWords(view, at + FPU_XMM, f.view, f.base + FPU_XMM, xmm * 16);
  f.summarize();
  return true;
}

/** TOP of a status word. */
export const topOf = (fsw: number): number => (fsw >> FSW_TOP_SHIFT) & 7;
