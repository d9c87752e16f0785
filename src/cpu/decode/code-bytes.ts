/**
 * The bytes of an instruction: immediates, prefixes, memory operands. Source: SDM vol. 2, chapter 2.
 */
import { CB_ZERO } from '../memory/control-block.ts';
import type { WordSize } from '../tables/operands.ts';
import { Seg } from '../interface.ts';

export const MAX_LENGTH = 15;

export class CodeBytes {
  // The block in hand
  protected source: Uint8Array;
  protected at = 0;
  protected limit = 0;
  protected overrun = false;

  // Prefixes of the instruction in hand
  protected rex = 0;
  protected hasRex = false;
  protected operandPrefix = false;
  protected addressPrefix = false;
  protected lock = false;
  protected rep = 0;
  protected segment = -1;

  // Its memory operand
  protected base = CB_ZERO;
  protected index = CB_ZERO;
  protected scale = 0;
  protected disp = 0;
  protected ripRelative = false;
  protected defaultSegment: number = Seg.ds;

  private longMode = false;

  /** @param source where code lies, until a block comes with one of its own */
  constructor(source: Uint8Array) {
    this.source = source;
  }

  /** The mode of the block to come. */
  setMode(bits: 16 | 32 | 64): void {
    this.longMode = bits === 64;
  }

  protected u8(): number {
    if (this.at >= this.limit) {
      this.overrun = true;
      return 0;
    }
    return this.source[this.at++]!;
  }
  protected u16(): number {
    return this.u8() | (this.u8() << 8);
  }
  protected i16(): number {
    return (this.u16() << 16) >> 16;
  }
  protected i32(): number {
    return this.u16() | (this.u16() << 16);
  }
  protected i8(): number {
    return (this.u8() << 24) >> 24;
  }

  protected prefixes(bits: number): number {
    this.rex = 0;
    this.hasRex = false;
    this.operandPrefix = false;
    this.addressPrefix = false;
    this.lock = false;
    this.rep = 0;
    this.segment = -1;
    for (let n = 0; n < MAX_LENGTH; n++) {
      const byte = this.u8();
      switch (byte) {
        case 0x66:
          this.operandPrefix = true;
          break;
        case 0x67:
          this.addressPrefix = true;
          break;
        case 0xf0:
          this.lock = true;
          break;
        case 0xf2:
        case 0xf3:
          this.rep = byte;
          break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
          if (bits !== 64) this.segment = (byte >> 3) & 3;
          break;
        case 0x64:
        case 0x65:
          this.segment = byte - 0x60;
          break;
        default:
          if (bits === 64 && (byte & 0xf0) === 0x40) {
            // A REX prefix counts only right before the opcode.
            this.rex = byte;
            this.hasRex = true;
            const next = this.u8();
            if (!isPrefix(next)) return next;
            this.rex = 0;
            this.hasRex = false;
            this.at--;
            continue;
          }
          return byte;
      }
    }
    return this.u8(); // one byte too many already
  }

  protected memoryOperand(modrm: number, addressSize: WordSize): void {
    const mod = modrm >> 6;
    const rm = modrm & 7;
    this.base = CB_ZERO;
    this.index = CB_ZERO;
    this.scale = 0;
    this.disp = 0;
    this.ripRelative = false;
    this.defaultSegment = Seg.ds;
    if (addressSize === 2) {
      this.memoryOperand16(mod, rm);
      return;
    }
    let base = rm;
    if (rm === 4) {
      const sib = this.u8();
      const index = ((sib >> 3) & 7) | ((this.rex & 2) << 2);
      if (index !== 4) this.index = index * 8;
      this.scale = sib >> 6;
      base = sib & 7;
    }
    if (base === 5 && mod === 0) {
      this.disp = this.i32();
      // Without SIB in 64-bit mode: relative to RIP.
      this.ripRelative = rm === 5 && this.longMode;
      return;
    }
    this.base = (base | ((this.rex & 1) << 3)) * 8;
    if (this.base === 4 * 8 || this.base === 5 * 8) this.defaultSegment = Seg.ss;
    if (mod === 1) this.disp = this.i8();
    else if (mod === 2) this.disp = this.i32();
  }

  private memoryOperand16(mod: number, rm: number): void {
    const BX = 3 * 8;
    const BP = 5 * 8;
    const SI = 6 * 8;
    const DI = 7 * 8;
    if (mod === 0 && rm === 6) {
      this.disp = this.u16();
      return;
    }
    this.base = [BX, BX, BP, BP, SI, DI, BP, BX][rm]!;
    this.index = [SI, DI, SI, DI, CB_ZERO, CB_ZERO, CB_ZERO, CB_ZERO][rm]!;
    if (this.base === BP) this.defaultSegment = Seg.ss;
    if (mod === 1) this.disp = this.i8();
    else if (mod === 2) this.disp = this.i16();
  }
}

function isPrefix(byte: number): boolean {
  switch (byte) {
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3:
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
      return true;
    default:
      return (byte & 0xf0) === 0x40;
  }
}
