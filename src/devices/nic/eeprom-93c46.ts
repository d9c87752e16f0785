/**
 * The 93C46: 64 words of 16 bits behind four wires (select, clock, data in, data out). A start bit, two bits
 * of operation code, six of address, then data, each on a rising clock; a read begins with a zero bit.
 * Write commands are taken and change nothing, as in QEMU: no driver may rewrite the card's address.
 */

const Mode = { idle: 0, waitStart: 1, command: 2, dataRead: 3 } as const;

/** Operation code: the upper two bits of a command byte. */
const OP_READ = 0x80;
const OP_MASK = 0xc0;
const ADDRESS_MASK = 0x3f;

/** All that a 93C46 remembers, beside its words. */
export interface Eeprom93c46State {
  contents: Uint16Array;
  mode: number;
  tick: number;
  input: number;
  output: number;
  eecs: boolean;
  eesk: boolean;
  eedo: boolean;
}

export class Eeprom93c46 {
  readonly state: Eeprom93c46State = {
    contents: new Uint16Array(64),
    mode: Mode.idle,
    tick: 0,
    input: 0,
    output: 0,
    eecs: false,
    eesk: false,
    eedo: false,
  };

  /** Level of data out; low while the chip is not selected. */
  get dataOut(): boolean {
    return this.state.eecs && this.state.eedo;
  }

  /** Drives the three inputs. */
  setWires(select: boolean, clock: boolean, dataIn: boolean): void {
    const s = this.state;
    const selected = select && !s.eecs;
    const risingClock = clock && !s.eesk;
    s.eecs = select;
    s.eesk = clock;
    if (selected) {
      s.tick = 0;
      s.input = 0;
      s.output = 0;
      s.mode = Mode.waitStart;
    }
    if (select && risingClock) this.shift(dataIn);
  }

  private shift(bit: boolean): void {
    const s = this.state;
    s.tick = (s.tick + 1) >>> 0;
    switch (s.mode) {
      case Mode.waitStart:
        if (bit) {
          s.mode = Mode.command;
          s.tick = 0;
          s.input = 0;
        }
        break;
      case Mode.command:
        s.input = ((s.input << 1) | (bit ? 1 : 0)) & 0xffff;
        if (s.tick === 8) this.command(s.input & 0xff);
        break;
      case Mode.dataRead:
        s.eedo = (s.output & 0x8000) !== 0;
        s.output = (s.output << 1) & 0xffff;
        if (s.tick === 16) {
          // FreeBSD's drivers do not deselect between two reads.
          s.mode = Mode.waitStart;
          s.input = 0;
          s.tick = 0;
        }
        break;
    }
  }

  private command(command: number): void {
    const s = this.state;
    if ((command & OP_MASK) !== OP_READ) {
      s.mode = Mode.idle;
      return;
    }
    s.output = s.contents[command & ADDRESS_MASK]!;
    s.eedo = false;
    s.tick = 0;
    s.mode = Mode.dataRead;
  }
}
