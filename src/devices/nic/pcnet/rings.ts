/** Where the chip stands in its rings: finds the current and next descriptors, and keeps the registers that tell of them. */
import { Descriptor, descriptorSize } from './descriptor.ts';
import { getPair, OWN, physical, putPair, R, type ChipPort } from './port.ts';

export class Rings {
  private readonly chip: ChipPort;
  private readonly rmd: Descriptor;
  private readonly tmd: Descriptor;

  constructor(chip: ChipPort) {
    this.chip = chip;
    this.rmd = new Descriptor(chip, 'receive');
    this.tmd = new Descriptor(chip, 'transmit');
  }

  /** Address of the receive descriptor with `counter` left to the ring's end; counters below 1 go round. Address arithmetic is 32 bits wide. */
  receiveAddress(counter: number): number {
    const {
      regs: { values },
      state,
    } = this.chip;
    const length = values[R.CSR76]!;
    // A counter is -1 at least and a length 1 at least: two turns.
    for (let turns = 0; counter < 1 && turns < 2; turns++) counter += length;
    return (state.rdra + (length - counter) * descriptorSize(values)) >>> 0;
  }

  private good(descriptor: Descriptor, gpa: number): boolean {
    descriptor.load(gpa);
    return descriptor.wellFormed;
  }

  /** Looks at the current and next receive descriptors. */
  pollReceive(): void {
    const {
      rmd,
      chip: {
        regs: { values },
        state,
      },
    } = this;
    putPair(values, R.CSR28, 0);
    if (state.rdra !== 0) {
      const counter = values[R.CSR72]!;
      const current = this.receiveAddress(counter);
      if (this.good(rmd, current)) {
        let next = this.receiveAddress(counter - 1);
        let nextButOne = this.receiveAddress(counter - 2);
        let good = this.good(rmd, next);
        if (!good || next === current) next = 0;
        good = this.good(rmd, nextButOne) && good;
        if (!good || nextButOne === current) nextButOne = 0;
        putPair(values, R.CSR28, current);
        putPair(values, R.CSR26, next);
        putPair(values, R.CSR36, nextButOne);
      }
    }
    this.status(rmd, R.CSR28, R.CSR40);
    this.status(rmd, R.CSR26, R.CSR44);
  }

  /** Looks at the current transmit descriptor. True when the chip owns it. */
  pollTransmit(): boolean {
    const {
      tmd,
      chip: {
        regs: { values },
        state,
      },
    } = this;
    putPair(values, R.CSR34, 0);
    if (state.tdra !== 0) {
      const current = (state.tdra + (values[R.CSR78]! - values[R.CSR74]!) * descriptorSize(values)) >>> 0;
      if (this.good(tmd, current)) {
        if (current !== 0) {
          putPair(values, R.CSR60, 0);
          values[R.CSR62] = values[R.CSR42]!;
          values[R.CSR63] = values[R.CSR43]!;
        }
        putPair(values, R.CSR34, current);
      }
    }
    this.status(tmd, R.CSR34, R.CSR42);
    return (values[R.CSR43]! & OWN) !== 0;
  }

  /** Byte count and status of the descriptor that a pair of registers points to, into the two registers from `to` on. */
  private status(descriptor: Descriptor, pointer: number, to: number): void {
    const { values } = this.chip.regs;
    const gpa = getPair(values, pointer);
    if (gpa === 0) {
      values[to] = 0;
      values[to + 1] = 0;
      return;
    }
    descriptor.load(physical(values, gpa));
    values[to] = descriptor.count;
    values[to + 1] = descriptor.status;
  }
}

/** The counter of a ring moves on by one descriptor. */
export function advance(values: Uint32Array, counter: number, length: number): void {
  values[counter] = values[counter]! <= 1 ? values[length]! : values[counter]! - 1;
}
