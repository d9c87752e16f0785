/** Remote DMA: the data port through which a driver reads and writes the chip's memory, byte, word or double word at a time. */
import { DCFG_WORDS, ISR_RDC, W, type ChipPort } from './port.ts';
import { PMEM_END, PMEM_START, PROM_SIZE } from './state.ts';

export class RemoteDma {
  private readonly chip: ChipPort;

  constructor(chip: ChipPort) {
    this.chip = chip;
  }

  /** Bytes that an access of `size` bytes moves: a 32-bit one always four, others what DCFG says. */
  private step(size: number): 1 | 2 | 4 {
    return size === 4 ? 4 : this.chip.regs.values[W.EN0_DCFG]! & DCFG_WORDS ? 2 : 1;
  }

  /** Address of the access: even for words and double words. */
  private address(step: number): number {
    const { rsar } = this.chip.state;
    return step === 1 ? rsar : rsar - (rsar & 1);
  }

  /** Is all of the access inside the PROM or the packet memory? (An access that begins in the PROM may end two bytes behind it.) */
  private reaches(address: number, step: number): boolean {
    return address < PROM_SIZE || (address >= PMEM_START && address + step <= PMEM_END);
  }

  /** A read of the data port; the answer is `size` bytes wide. */
  read(size: number): number {
    const step = this.step(size);
    const at = this.address(step);
    let value = 0xffffffff >>> (32 - 8 * step);
    if (this.reaches(at, step)) {
      const { mem } = this.chip.state;
      value = mem[at]!;
      if (step > 1) value |= mem[at + 1]! << 8;
      if (step > 2) value = (value | (mem[at + 2]! << 16) | (mem[at + 3]! << 24)) >>> 0;
    }
    this.advance(step);
    return size === 1 ? value & 0xff : value;
  }

  /** A write of `size` bytes to the data port; nothing with no bytes left. */
  write(size: number, value: number): void {
    const { state } = this.chip;
    if (state.rcnt === 0) return;
    const step = this.step(size);
    const at = this.address(step);
    if (this.reaches(at, step)) for (let i = 0; i < step; i++) state.mem[at + i] = value >>> (8 * i);
    this.advance(step);
  }

  private advance(step: number): void {
    const {
      state,
      regs: { values },
    } = this.chip;
    state.rsar = (state.rsar + step) >>> 0;
    if (state.rsar === values[W.EN0_STOPPG]! << 8) state.rsar = values[W.EN0_STARTPG]! << 8;
    if (state.rcnt > step) {
      state.rcnt -= step;
      return;
    }
    state.rcnt = 0;
    this.chip.interrupt(ISR_RDC);
  }
}
