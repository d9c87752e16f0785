/**
 * Fuzz target: the RTL8139 on a test bus, under register, memory, wire, time and configuration input. Watched for:
 * exceptions, unbounded work, DMA with bus mastering off, an interrupt pin that does not follow the registers, frames no
 * Ethernet has, and a chip that goes on differently after save and restore.
 */
import { Rtl8139 } from '../../src/devices/nic/rtl8139/core.ts';
import { rtl8139Registers } from '../../src/devices/nic/rtl8139/registers.ts';
import type { Target } from './engine.ts';
import { IO, MAC, MMIO, NicRun, RAM, runsOf, sizes } from './nic-run.ts';
import { check, type Program } from './program.ts';

const RAM_SIZE = 0x2_8000;
const TX_RING = 0x0000;
const RX_RING = 0x0400;
const C_RING = 0x1_0000;
const BUFFERS = 0x1000;
/** DMA accesses of one step without its frames: 64 descriptors, each read, fetched and written back, and a tally dump. */
const STEP_DMA = 64 * 3 + 1;
/** DMA accesses for a frame that is received. */
const FRAME_DMA = 7;

class Run extends NicRun {
  private framesBefore = 0;
  private readonly ram: DataView;

  constructor(replace: boolean) {
    super({
      make: (slot, wire) => new Rtl8139(slot, wire, { mac: MAC }),
      ramSize: RAM_SIZE,
      stepDma: STEP_DMA,
      shortestFrame: 1,
      longestFrame: 65_540,
      highestAddress: Number.POSITIVE_INFINITY,
      budget: 4000,
      replace,
    });
    this.ram = new DataView(this.bus.ram.bytes.buffer);
  }

  protected override begin(): void {
    this.framesBefore = this.frames();
  }

  protected override mostDma(): number {
    return STEP_DMA + FRAME_DMA * (this.frames() - this.framesBefore + 1);
  }

  /** Frames the chip has seen in either direction. */
  private frames(): number {
    const s = this.bus.chip.statistics();
    return s['tx_packets']! + s['rx_packets']! + s['rx_filtered']! + s['rx_no_room']!;
  }

  private write(offset: number, size: number, value: number): void {
    this.bus.write('mem', MMIO + offset, size, value);
  }

  protected override step(program: Program): void {
    const { bus } = this;
    const op = program.u8();
    switch (op % 17) {
      case 0: {
        const register = rtl8139Registers[program.u8() % rtl8139Registers.length]!;
        this.write(
          register.offset,
          register.width,
          register.width === 1 ? program.u8() : register.width === 2 ? program.u16() : program.u32(),
        );
        break;
      }
      case 1:
        bus.write(op & 0x80 ? 'io' : 'mem', (op & 0x80 ? IO : MMIO) + program.u8(), sizes[program.u8() % 3]!, program.u32());
        break;
      case 2:
        this.add(bus.read(op & 0x80 ? 'io' : 'mem', (op & 0x80 ? IO : MMIO) + program.u8(), sizes[program.u8() % 3]!));
        break;
      case 3:
        this.descriptor(TX_RING, program);
        break;
      case 4:
        this.descriptor(RX_RING, program);
        break;
      case 5:
        this.ipFrame(program);
        break;
      case 6:
        this.arrive(program);
        break;
      case 7:
        bus.clock.advance(bus.clock.nowNs() + program.u8() * 10 ** (program.u8() % 12));
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
        this.start(program.u8());
        break;
      case 12:
        this.write(0xd9, 1, program.u8() | 0x40);
        break;
      case 13: {
        const n = program.u8() & 3;
        this.write(0x20 + 4 * n, 4, RAM + BUFFERS + program.u8() * 0x100);
        this.write(0x10 + 4 * n, 4, program.u16() & ~0x2000);
        break;
      }
      case 14:
        bus.chip.reset();
        break;
      case 15: {
        this.write(0x3e, 2, bus.read('mem', MMIO + 0x3e, 2));
        this.write(0x38, 2, (bus.read('mem', MMIO + 0x3a, 2) - 16 + (program.u8() << 2)) & 0xffff);
        break;
      }
      case 16: {
        // Put back what a driver needs, however far the program went astray.
        this.place();
        this.write(0x5b, 1, 0x52);
        break;
      }
    }
  }

  /** Flags, length, tag and buffer of one descriptor. */
  private descriptor(ring: number, program: Program): void {
    const at = ring + 16 * (program.u8() & 0x3f);
    this.ram.setUint32(at, ((program.u16() << 16) | program.u16()) >>> 0, true);
    const tag = program.u8();
    this.ram.setUint32(at + 4, ((tag & 3) << 16) | tag, true);
    this.ram.setUint32(at + 8, RAM + BUFFERS + program.u8() * 0x100, true);
    this.ram.setUint32(at + 12, 0, true);
  }

  /** An IPv4 frame with TCP, UDP or something else inside, true or not, in a transmit buffer. */
  private ipFrame(program: Program): void {
    const at = BUFFERS + program.u8() * 0x100;
    const { bytes } = this.bus.ram;
    bytes.set(MAC, at);
    const kind = program.u8();
    bytes.set(kind & 0x80 ? [0x81, 0x00] : [0x08, 0x00], at + 12);
    bytes[at + 14] = kind & 0x40 ? program.u8() : 0x45;
    const total = program.u16();
    bytes.set([total >> 8, total & 0xff], at + 16);
    bytes[at + 23] = [6, 17, 1, program.u8()][kind & 3]!;
    bytes[at + 14 + 20 + 12] = kind & 0x20 ? program.u8() : 0x50;
    bytes[at + 14 + 20 + 13] = 0x19;
  }

  private start(kind: number): void {
    if (kind & 1) {
      this.write(0xe0, 2, 3 | (kind & 0x40));
      this.write(0x20, 4, RAM + TX_RING);
      this.write(0x24, 4, 0);
      this.write(0xe4, 4, RAM + RX_RING);
      this.write(0xe8, 4, 0);
    } else {
      this.write(0x30, 4, RAM + C_RING);
    }
    this.write(0x37, 1, 0x0c);
    this.write(0x44, 4, 0x0e | (kind & 2 ? 1 : 0) | (kind & 4 ? 0x80 : 0) | ((kind & 0x18) << 8));
    this.write(0x3c, 2, 0xffff);
    this.write(0x40, 4, kind & 0x20 ? 0x60000 : 0);
    for (let i = 0; i < 8; i++) this.write(8 + i, 1, 0x55);
  }

  protected override invariants(): void {
    const { chip, irqLevel } = this.bus;
    const values = registerValues(chip as Rtl8139);
    const pending = (values.IntrStatus & values.IntrMask) !== 0;
    const disabled = (chip.config.command & 0x400) !== 0;
    check(irqLevel === (pending && !disabled), `INTx is ${irqLevel}, status and mask say ${pending}, INTxDisable ${disabled}`);
    check(((chip.config.bytes[6]! & 8) !== 0) === pending, 'Status.INTx does not follow');
  }

  protected override finish(): void {
    const state = this.bus.chip.save() as unknown as Record<string, number>;
    const within = (name: string, most: number): void =>
      check(Number.isInteger(state[name]) && state[name]! >= 0 && state[name]! <= most, `${name} = ${state[name]}`);
    within('rxBufferSize', 65536);
    within('rxBufAddr', state['rxBufferSize']! - 1);
    within('rxBufPtr', state['rxBufferSize']! - 1);
    within('txBuffer', 3);
    within('cplusTxDesc', 63);
    within('cplusRxDesc', 0xffffffff);
    within('cplusLength', 65536);
  }
}

const indexOf = (name: string): number => rtl8139Registers.findIndex((r) => r.name === name);
const INTR_STATUS = indexOf('IntrStatus');
const INTR_MASK = indexOf('IntrMask');

function registerValues(chip: Rtl8139): { IntrStatus: number; IntrMask: number } {
  const { values } = (chip as unknown as { regs: { values: Uint32Array } }).regs;
  return { IntrStatus: values[INTR_STATUS]!, IntrMask: values[INTR_MASK]! };
}

export const rtl8139Target: Target = {
  name: 'rtl8139',
  ...runsOf((replace) => new Run(replace)),
  seeds: [
    // C+ both ways: start, one transmit descriptor with a frame, the doorbell, one receive descriptor, a frame.
    Uint8Array.from([
      11, 1, 5, 0, 0, 60, 0, 3, 0, 0x00, 0xb0, 60, 0, 0, 0, 12, 0, 4, 0, 0x00, 0x80, 0, 6, 0, 64, 6, 0, 100, 0, 0, 15, 0,
    ]),
    // Large send and checksums.
    Uint8Array.from([11, 1, 5, 0, 0, 0x90, 1, 3, 0, 0x64, 0xb8, 0xa0, 1, 0, 0, 12, 0, 3, 1, 0x07, 0xb0, 0xa0, 1, 1, 0, 12, 0]),
    // C mode both ways.
    Uint8Array.from([11, 0, 13, 0, 0, 60, 0, 6, 0, 100, 0, 0, 6, 1, 0, 4, 0, 15, 0, 13, 1, 1, 0, 2]),
    // Bus mastering off and on, INTxDisable.
    Uint8Array.from([11, 0, 6, 0, 100, 0, 8, 4, 1, 3, 0, 0, 0, 6, 1, 80, 0, 8, 4, 1, 7, 4, 0, 0, 15, 0, 16]),
    // Loopback, VLAN, timer, EEPROM.
    Uint8Array.from([
      11, 0x61, 4, 0, 0, 0x80, 0, 6, 0, 64, 3, 0, 0, 0xb0, 60, 0, 2, 0, 12, 0, 1, 0x54, 2, 100, 0, 0, 0, 7, 9, 5, 1, 0x50, 0,
      0x88, 0, 0, 0, 1, 0x50, 0, 0x8e, 0, 0, 0,
    ]),
  ],
};
