/** Cases for image/segments.c: a few random instructions each, in a code segment, on a stack and over data segments of 16 or 32 bits. */
import { Random } from '../lockstep/random.ts';

const CODE_AT = 0x200000;
const STACK_AT = 0x300000;
const AREA = 0x11000;
/** struct one of the image. */
const CASE_SIZE = 4 * (8 + 8 + 3) + 64;
const MAX_CODE = 56;

interface Modes {
  big: boolean;
  /** Memory operands have 16-bit addresses. */
  address16: boolean;
}

export interface SegmentCases {
  bytes: Uint8Array;
  /** Code of each case in hex, for a person. */
  texts: string[];
}

class Snippet {
  readonly bytes: number[] = [];
  /** It has an ENTER. */
  enters = false;
  private readonly random: Random;
  private readonly modes: Modes;
  private readonly codeSelector = 0x83;

  constructor(random: Random, modes: Modes) {
    this.random = random;
    this.modes = modes;
    for (let n = 2 + random.below(5); n > 0 && this.bytes.length < MAX_CODE - 16; n--) this.instruction();
  }

  private emit(...bytes: number[]): void {
    this.bytes.push(...bytes);
  }
  private word(value: number, size: number): void {
    for (let i = 0; i < size; i++) this.bytes.push((value >>> (8 * i)) & 255);
  }

  /** Prefixes; gives the operand size. */
  private prefixes(memory: boolean): 2 | 4 {
    const operand = this.random.chance(0.4);
    if (operand) this.emit(0x66);
    if (memory) {
      if (this.random.chance(0.2)) this.emit(this.random.pick([0x26, 0x36, 0x3e]));
      if (this.modes.big === this.modes.address16) this.emit(0x67);
    }
    return this.modes.big !== operand ? 4 : 2;
  }

  /** ModRM of a memory operand with its displacement; registers are small where addresses have 32 bits. */
  private memoryOperand(reg: number): void {
    const { random } = this;
    const mod = random.below(3);
    const rm = random.below(8);
    this.emit((mod << 6) | (reg << 3) | rm);
    if (this.modes.address16) {
      if (mod === 0 && rm === 6) this.word(random.below(0xfff0), 2);
      else if (mod > 0) this.word(random.u32(), mod);
      return;
    }
    let base = rm;
    if (rm === 4) {
      base = random.below(8);
      this.emit((random.below(3) << 6) | (random.below(8) << 3) | base);
    }
    if (mod === 1) this.word(random.u32(), 1);
    else if (mod === 2 || base === 5) this.word(random.below(0x8000), 4);
  }
  private operand(reg: number): void {
    if (this.random.chance(0.7)) this.memoryOperand(reg);
    else this.emit(0xc0 | (reg << 3) | this.random.below(8));
  }

  private instruction(): void {
    const { random } = this;
    const reg = random.below(8);
    // What is about the stack comes more often than the rest.
    switch (random.below(22)) {
      case 0: // push and pop of a register
      case 1:
        this.prefixes(false);
        return this.emit((random.chance(0.5) ? 0x50 : 0x58) | reg);
      case 2: {
        // push r/m, pop r/m
        this.prefixes(true);
        const pops = random.chance(0.5);
        this.emit(pops ? 0x8f : 0xff);
        return this.operand(pops ? 0 : 6);
      }
      case 3:
        this.prefixes(false);
        return this.emit(random.pick([0x60, 0x61]));
      case 4: {
        const size = this.prefixes(false);
        if (random.chance(0.5)) return this.emit(0x6a, random.below(256));
        this.emit(0x68);
        return this.word(random.u32(), size);
      }
      case 5: // enter
      case 6:
        this.prefixes(false);
        this.enters = true;
        return this.emit(0xc8, random.below(64), 0, random.below(5));
      case 7:
        this.prefixes(false);
        return this.emit(0xc9);
      case 8:
        this.prefixes(false);
        return this.emit(random.pick([0x9c, 0x9d, 0x9c]));
      case 9: // push of a segment register: 16 bits of it, as QEMU writes all 32 of a wider slot
        if (this.modes.big) this.emit(0x66);
        this.emit(random.pick([0x06, 0x0e, 0x16, 0x1e]));
        return random.chance(0.3) ? this.emit(0x58 | reg) : undefined;
      case 10: {
        // call of the next instruction
        const size = this.prefixes(false);
        this.emit(0xe8);
        return this.word(0, size);
      }
      case 11: // jcc, loop, jcxz, jmp over a byte
        this.prefixes(true);
        return this.emit(random.pick([0x70 + random.below(16), 0xe0, 0xe1, 0xe2, 0xe3, 0xeb]), 1, 0x90);
      case 12: // string instructions
        this.prefixes(true);
        // Repeated where the count has 16 bits: a wide one could be anything by now.
        if (this.modes.address16 && random.chance(0.3)) this.emit(random.pick([0xf2, 0xf3]));
        return this.emit(random.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]));
      case 13:
        this.prefixes(true);
        return this.emit(0xd7);
      case 14: {
        // mov with a direct address
        this.prefixes(true);
        this.emit(random.pick([0xa0, 0xa1, 0xa2, 0xa3]));
        return this.word(random.below(0xfff0), this.modes.address16 ? 2 : 4);
      }
      case 15:
        this.prefixes(true);
        this.emit(0x8d);
        return this.memoryOperand(reg);
      case 16: // mov, xchg, test
        this.prefixes(true);
        this.emit(random.pick([0x88, 0x89, 0x8a, 0x8b, 0x86, 0x87, 0x84, 0x85]));
        return this.operand(reg);
      case 17: // movzx, movsx
        this.prefixes(true);
        this.emit(0x0f, random.pick([0xb6, 0xb7, 0xbe, 0xbf, 0xc0, 0xc1]));
        return this.operand(reg);
      case 18: // shifts by one
        this.prefixes(true);
        this.emit(random.pick([0xd0, 0xd1]));
        return this.operand(random.pick([0, 1, 4, 5, 7]));
      case 19: // a far call to the next instruction, and perhaps back
        return this.farCall();
      case 20: // inc, dec, not
        this.prefixes(true);
        this.emit(random.pick([0xfe, 0xff]));
        return this.operand(random.below(2));
      default:
        this.prefixes(true);
        this.emit(random.below(8) * 8 + random.below(4));
        return this.operand(reg);
    }
  }

  private readonly farTargets: { at: number; size: number }[] = [];

  /** A far call of the next instruction, or a far return to it by words that were pushed. */
  private farCall(): void {
    const target = (size: number): void => {
      this.farTargets.push({ at: this.bytes.length, size });
      this.word(0, size);
    };
    if (this.random.chance(0.5)) {
      const size = this.prefixes(false);
      this.emit(0x9a);
      target(size);
      return this.word(this.codeSelector, 2);
    }
    const word = this.modes.big ? [0x66] : [];
    this.emit(...word, 0x0e, ...word, 0x68);
    target(2);
    this.emit(...word, 0xcb);
  }

  /** The code with INT3 behind it, to lie at this offset: a far call names its target. */
  place(offset: number): number[] {
    for (const { at, size } of this.farTargets) {
      // Behind the selector, or behind the far return.
      const target = offset + at + size + (this.bytes[at + size] === this.codeSelector ? 2 : this.modes.big ? 2 : 1);
      for (let i = 0; i < size; i++) this.bytes[at + i] = (target >>> (8 * i)) & 255;
    }
    return [...this.bytes, 0xcc];
  }
}

/** `count` cases of a seed. */
export function segmentCases(seed: number, count: number): SegmentCases {
  const random = new Random(seed);
  const bytes = new Uint8Array(count * CASE_SIZE);
  const view = new DataView(bytes.buffer);
  const texts: string[] = [];
  for (let n = 0; n < count; n++) {
    let at = n * CASE_SIZE;
    const put = (value: number): void => {
      view.setUint32(at, value >>> 0, true);
      at += 4;
    };
    const big = random.chance(0.5);
    const bigStack = random.chance(0.4);
    const address16 = random.chance(0.6);
    const snippet = new Snippet(random, { big, address16 });
    const offset = 16 * random.below(0xf00) + random.below(16);
    const code = snippet.place(offset);
    put(CODE_AT + 16 * random.below(16));
    put(big ? 1 : 0);
    put(STACK_AT);
    put(bigStack ? 1 : 0);
    put(STACK_AT + AREA);
    put(random.below(2));
    put(STACK_AT + 2 * AREA);
    put(random.below(2));
    for (let r = 0; r < 8; r++) {
      // SP near the ends of its segment now and then, but not under ENTER, where QEMU lets a wrap of SP run into ESP.
      const low =
        r === 4 && !snippet.enters && random.chance(0.3)
          ? random.pick([0, 2, 4, 0xfffe, 0xfff0, 0x10])
          : 0x100 + random.below(0xfe00);
      const high = address16 && !(bigStack && (r === 4 || r === 5)) ? random.u32() & 0xffff0000 : 0;
      put((high | low) >>> 0);
    }
    put(0x202 | (random.u32() & 0x8d5) | (random.chance(0.2) ? 0x400 : 0));
    put(offset);
    put(code.length);
    bytes.set(code, at);
    texts.push(`${big ? 32 : 16}-bit code, ${bigStack ? 32 : 16}-bit stack: ${Buffer.from(code).toString('hex')}`);
  }
  return { bytes, texts };
}
