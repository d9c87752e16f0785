/**
 * Fuzz target: the Am79C970A on a test bus, under port, memory, wire, time, link and configuration input. Watched for: exceptions,
 * work without bound, DMA with bus mastering off or past 32 bits, an interrupt pin that does not follow the chip's word, registers
 * wider than 16 bits, frames longer than the buffer, a chip that goes on differently after save and restore.
 */
import { Pcnet } from '../../src/devices/nic/pcnet/core.ts';
import type { Target } from './engine.ts';
import { IO, MAC, MMIO, NicRun, RAM, runsOf, sizes } from './nic-run.ts';
import { check, type Program } from './program.ts';

const RAM_SIZE = 0x1_8000;
const BLOCK = 0x0100;
const RX_RING = 0x0400;
const TX_RING = 0x0800;
const BUFFERS = 0x2000;
/** One walk of at most 65,536 descriptor reads with a write and a buffer each, and one search of a ring. */
const STEP_DMA = 4 * 65_536;

class Run extends NicRun {
  private readonly view: DataView;

  constructor(replace: boolean) {
    super({
      make: (slot, wire) => new Pcnet(slot, wire, { mac: MAC }),
      ramSize: RAM_SIZE,
      stepDma: STEP_DMA,
      shortestFrame: 0,
      longestFrame: 4092,
      highestAddress: 0xffff_ffff,
      replace,
    });
    this.view = new DataView(this.bus.ram.bytes.buffer);
  }

  private port(offset: number, value: number): void {
    this.bus.write('mem', MMIO + offset, 2, value);
  }

  private csr(n: number, value: number): void {
    this.port(0x12, n);
    this.port(0x10, value);
  }

  protected override step(program: Program): void {
    const { bus } = this;
    const op = program.u8();
    switch (op % 15) {
      case 0:
        this.csr(program.u8(), program.u16());
        break;
      case 1:
        this.port(0x12, program.u8());
        this.port(0x16, program.u16());
        break;
      case 2:
        bus.write(
          op & 0x80 ? 'io' : 'mem',
          (op & 0x80 ? IO : MMIO) + (program.u8() & 0x1f),
          sizes[program.u8() % 3]!,
          program.u32(),
        );
        break;
      case 3:
        this.add(bus.read(op & 0x80 ? 'io' : 'mem', (op & 0x80 ? IO : MMIO) + (program.u8() & 0x1f), sizes[program.u8() % 3]!));
        break;
      case 4:
        this.descriptor(RX_RING, program);
        break;
      case 5:
        this.descriptor(TX_RING, program);
        break;
      case 6:
        this.arrive(program);
        break;
      case 7:
        bus.clock.advance(bus.clock.nowNs() + program.u8() * 10 ** (program.u8() % 6));
        break;
      case 8:
        bus.chip.writeConfig(program.u8(), sizes[program.u8() % 3]!, program.u32());
        break;
      case 9:
        bus.chip.setLink((program.u8() & 1) === 1);
        break;
      case 10: {
        const at = (program.u16() * 4) % RAM_SIZE;
        bus.ram.bytes.fill(program.u8(), at, at + program.u8() * 8);
        break;
      }
      case 11:
        this.start(program);
        break;
      case 12:
        this.csr(0, program.u8() | 0x48);
        break;
      case 13:
        bus.chip.reset();
        break;
      case 14: {
        // Put back what a driver needs, however far the program went astray; acknowledge.
        this.place();
        this.csr(0, 0x7f40);
        break;
      }
    }
  }

  /** Status, size and buffer of one descriptor, of 16 bytes in either order of words or of 8. */
  private descriptor(ring: number, program: Program): void {
    const n = program.u8();
    const status = program.u16();
    const bytes = program.u16();
    const buffer = RAM + BUFFERS + program.u8() * 0x100;
    if (n & 0x80) {
      const at = ring + 8 * (n & 0x1f);
      this.view.setUint32(at, (buffer & 0xff_ffff) | ((status & 0xff00) << 16), true);
      this.view.setUint32(at + 4, 0xf000 | (-bytes & 0xfff), true);
      return;
    }
    const at = ring + 16 * (n & 0x1f);
    const swapped = (n & 0x40) !== 0;
    this.view.setUint32(at + (swapped ? 8 : 0), buffer, true);
    this.view.setUint32(at + 4, ((status << 16) | (bytes & 0x8000 ? bytes : 0xf000 | (-bytes & 0xfff))) >>> 0, true);
    this.view.setUint32(at + (swapped ? 0 : 8), n & 0x20 ? 0xffff : 0, true);
    this.view.setUint32(at + 12, 0, true);
  }

  private start(program: Program): void {
    const kind = program.u8();
    const lengths = program.u8();
    const mode = program.u16();
    const style = kind & 3;
    this.csr(0, 4);
    this.port(0x12, 20);
    this.port(0x16, style);
    const wide = style !== 0;
    const { bytes } = this.bus.ram;
    this.view.setUint16(BLOCK, kind & 4 ? mode : mode & 0x800c, true);
    bytes.set(MAC, BLOCK + (wide ? 4 : 2));
    const filter = BLOCK + (wide ? 12 : 8);
    bytes.fill(0x55, filter, filter + 8);
    if (wide) bytes.set([lengths & 0xf0, (lengths << 4) & 0xf0], BLOCK + 2);
    this.view.setUint32(filter + 8, wide ? RAM + RX_RING : (((RAM + RX_RING) & 0xff_ffff) | (lengths << 29)) >>> 0, true);
    this.view.setUint32(filter + 12, wide ? RAM + TX_RING : (((RAM + TX_RING) & 0xff_ffff) | ((lengths >> 4) << 29)) >>> 0, true);
    this.csr(1, (RAM + BLOCK) & 0xffff);
    this.csr(2, (RAM + BLOCK) >>> 16);
    this.csr(0, 1);
    this.csr(0, kind & 8 ? 0x0102 : 0x0142);
  }

  protected override invariants(): void {
    const { chip, irqLevel } = this.bus;
    const {
      regs: { values },
      state,
    } = chip as unknown as { regs: { values: Uint32Array }; state: Record<string, number> };
    for (let i = 0; i < values.length; i++) check(values[i]! <= 0xffff, `register ${i} is ${values[i]}`);
    check(state['rap']! <= 0x7f && state['rdra']! >= 0 && state['tdra']! >= 0, 'RAP or a ring address is out of range');
    const disabled = (chip.config.command & 0x400) !== 0;
    check(
      irqLevel === (Boolean(state['isr']) && !disabled),
      `INTx is ${irqLevel}, the chip says ${state['isr']}, INTxDisable ${disabled}`,
    );
    check(((chip.config.bytes[6]! & 8) !== 0) === Boolean(state['isr']), 'Status.INTx does not follow');
  }
}

export const pcnetTarget: Target = {
  name: 'pcnet',
  ...runsOf((replace) => new Run(replace)),
  seeds: [
    // Style 2: start, one descriptor each way, transmit demand, a frame.
    Uint8Array.from([11, 2, 0x22, 0, 0, 5, 0, 0, 0x83, 60, 0, 0, 12, 0, 4, 0, 0, 0x80, 0, 6, 1, 6, 0, 100, 0, 0, 14]),
    // Style 0 and style 3.
    Uint8Array.from([11, 0, 0x22, 0, 0, 5, 0x80, 0, 0x83, 60, 0, 0, 12, 0, 4, 0x80, 0, 0x80, 0, 6, 1, 6, 0, 100, 0, 0]),
    Uint8Array.from([11, 3, 0x22, 0, 0, 5, 0x40, 0, 0x83, 60, 0, 0, 12, 0, 4, 0x40, 0, 0x80, 0, 6, 1, 6, 0, 100, 0, 0]),
    // Loopback with and without a link, three descriptors a frame, time.
    Uint8Array.from([
      11, 6, 0x33, 0x4c, 0, 5, 0, 0, 0xa2, 60, 0, 0, 5, 1, 0, 0x80, 60, 0, 1, 5, 2, 0, 0x81, 60, 0, 2, 4, 0, 0, 0x80, 32, 0, 1, 4,
      1, 0, 0x80, 32, 0, 2, 12, 0, 9, 0, 12, 0, 7, 200, 4, 7, 200, 4,
    ]),
    // Ring lengths by CSR, counters outside, DWIO, resets, masks.
    Uint8Array.from([
      11, 2, 0, 0, 0, 0, 76, 0xff, 0xff, 0, 74, 0, 0, 0, 72, 9, 0, 6, 1, 60, 0, 0, 12, 0, 2, 16, 2, 0, 0, 0, 0, 3, 24, 2, 13, 14,
      0, 5, 0xff, 0xff, 0, 4, 0xff, 0xff,
    ]),
  ],
};
