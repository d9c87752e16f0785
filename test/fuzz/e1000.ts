/**
 * Fuzz target: the e1000 on a test bus, under register, memory, wire, time and configuration input. Watched for: exceptions, unbounded
 * work, DMA with bus mastering off, an interrupt pin that does not follow the registers, frames no Ethernet has, and a chip that goes
 * on differently after save and restore.
 */
import { E1000 } from '../../src/devices/nic/e1000/core.ts';
import { E1000_BLOCK_SIZE, e1000Registers, R, type E1000Register } from '../../src/devices/nic/e1000/registers.ts';
import type { E1000Saved, E1000State } from '../../src/devices/nic/e1000/state.ts';
import type { Target } from './engine.ts';
import { IO, MAC, MMIO, NicRun, RAM, runsOf, sizes } from './nic-run.ts';
import { check, type Program } from './program.ts';

const RAM_SIZE = 0x2_0000;
const TX_RING = 0x0000;
const RX_RING = 0x0400;
const BUFFERS = 0x1000;
/** DMA accesses for a descriptor: it is read, its buffer is read or written, it is written, its status is. */
const DESCRIPTOR_DMA = 4;

class Run extends NicRun {
  private readonly ram: DataView;
  private framesBefore = 0;

  constructor(replace: boolean) {
    super({
      make: (slot, wire) => new E1000(slot, wire, { mac: MAC }),
      ramSize: RAM_SIZE,
      stepDma: 0,
      shortestFrame: 0,
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

  /** Most DMA accesses of a step so far: the transmit ring once, and the receive ring once for each frame. */
  protected override mostDma(): number {
    const { values } = insideOf(this.bus.chip as E1000);
    const frames = this.frames() - this.framesBefore + 1;
    const ring = (bytes: number): number => DESCRIPTOR_DMA * (bytes / 16 + 1);
    return ring(values[R.TDLEN]!) + frames * ring(values[R.RDLEN]!);
  }

  /** Frames the chip has seen in either direction. */
  private frames(): number {
    const s = insideOf(this.bus.chip as E1000).state;
    return s.txPackets + s.txSegments + s.rxPackets + s.rxFiltered + s.rxNoRoom;
  }

  private write(register: E1000Register, value: number): void {
    this.bus.write('mem', MMIO + 4 * R[register], 4, value >>> 0);
  }

  protected override step(program: Program): void {
    const { bus } = this;
    const op = program.u8();
    switch (op % 19) {
      case 0: {
        const register = e1000Registers[program.u8() % e1000Registers.length]!;
        const index = (register.count ?? 1) > 1 ? program.u16() % register.count! : 0;
        bus.write('mem', MMIO + register.offset + index * (register.stride ?? 4), 4, program.u32());
        break;
      }
      case 1:
        bus.write('mem', MMIO + ((program.u16() * 2 + (op >> 7)) % E1000_BLOCK_SIZE), sizes[program.u8() % 3]!, program.u32());
        break;
      case 2:
        this.add(bus.read('mem', MMIO + ((program.u16() * 2 + (op >> 7)) % E1000_BLOCK_SIZE), sizes[program.u8() % 3]!));
        break;
      case 3:
        this.transmitDescriptor(program);
        break;
      case 4: {
        const at = RX_RING + 16 * (program.u8() & 0x1f);
        this.ram.setUint32(at, op & 0x80 ? 0 : RAM + BUFFERS + program.u8() * 0x100, true);
        this.ram.setUint32(at + 4, 0, true);
        this.ram.setUint32(at + 12, program.u8(), true);
        break;
      }
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
        this.write('TDT', op & 0x80 ? program.u16() : program.u8() & 0x3f);
        break;
      case 13:
        this.write('RDT', op & 0x80 ? program.u16() : program.u8() & 0x1f);
        break;
      case 14:
        bus.chip.reset();
        break;
      case 15:
        this.add(bus.read('mem', MMIO + 4 * R.ICR, 4));
        break;
      case 16:
        // Put back what a driver needs, however far the program went astray.
        this.place();
        break;
      case 17: {
        const register = (['MDIC', 'EECD', 'EERD', 'CTRL'] as const)[program.u8() & 3]!;
        const value = program.u32();
        // Most accesses to the PHY that is there.
        this.write(register, register === 'MDIC' && op & 0x80 ? (value & ~0x03e00000) | 0x00200000 : value);
        this.add(bus.read('mem', MMIO + 4 * R[register], 4));
        break;
      }
      case 18:
        bus.write('io', IO, 4, program.u16() * 2);
        bus.write('io', IO + 4, sizes[program.u8() % 3]!, program.u32());
        this.add(bus.read('io', IO + (program.u8() & 7), sizes[program.u8() % 3]!));
        break;
    }
  }

  /** One transmit descriptor of any kind: a context's offsets and lengths, or a buffer, flags, options and a tag. */
  private transmitDescriptor(program: Program): void {
    const at = TX_RING + 16 * (program.u8() & 0x3f);
    const kind = program.u8();
    if (kind & 1) {
      for (let i = 0; i < 8; i++) this.bus.ram.bytes[at + i] = program.u8();
      this.ram.setUint32(at + 8, ((kind & 0xfe) << 24) | 0x20000000 | program.u16(), true);
      this.ram.setUint32(at + 12, (program.u16() << 16) | (program.u8() << 8), true);
      return;
    }
    this.ram.setUint32(at, RAM + BUFFERS + program.u8() * 0x100, true);
    this.ram.setUint32(at + 4, 0, true);
    this.ram.setUint32(at + 8, ((kind & 0xfe) << 24) | (program.u8() << 20) | program.u16(), true);
    this.ram.setUint32(at + 12, (program.u16() << 16) | (program.u8() << 8), true);
  }

  /** An IP frame with TCP, UDP or something else inside, true or not, in a transmit buffer. */
  private ipFrame(program: Program): void {
    const at = BUFFERS + program.u8() * 0x100;
    const { bytes } = this.bus.ram;
    const kind = program.u8();
    const ip = at + (kind & 0x80 ? 18 : 14);
    const six = (kind & 0x10) !== 0;
    bytes.set(MAC, at);
    if (kind & 0x80) bytes.set([0x81, 0x00], at + 12);
    bytes.set(six ? [0x86, 0xdd] : [0x08, 0x00], ip - 2);
    bytes[ip] = kind & 0x40 ? program.u8() : six ? 0x60 : 0x45;
    const total = program.u16();
    bytes.set([total >> 8, total & 0xff], ip + (six ? 4 : 2));
    bytes[ip + (six ? 6 : 9)] = [6, 17, 1, program.u8()][kind & 3]!;
  }

  protected override arrive(program: Program): void {
    const { frame, kind } = this.frame(program);
    if (kind & 0x40)
      this.add(
        ['accepted', 'refused', 'dropped', 'held'].indexOf(this.bus.chip.receive(frame, frame.length, (kind & 0x20) !== 0)),
      );
    else if (this.bus.wire.waitingFrames < 64) this.bus.wire.arrive(frame);
  }

  private start(kind: number): void {
    this.write('TDBAL', RAM + TX_RING);
    this.write('TDBAH', 0);
    this.write('TDLEN', 64 * 16);
    this.write('RDBAL', RAM + RX_RING);
    this.write('RDBAH', 0);
    this.write('RDLEN', 32 * 16);
    this.write('RDT', 31);
    this.write('CTRL', kind & 1 ? 0x40140240 : 0x140240);
    this.write('IMS', 0xffff);
    this.write('TCTL', 2);
    this.write(
      'RCTL',
      0x8002 | (kind & 2 ? 0x18 : 0) | (kind & 4 ? 0x20 : 0) | ((kind & 0x18) << 13) | (kind & 0x20 ? 0x40000 : 0),
    );
    if (kind & 0x40) this.write('MDIC', 0x04200000 | 0x4140);
    this.bus.clock.advance(this.bus.clock.nowNs() + 1.1e9);
  }

  protected override invariants(): void {
    const { irqLevel, chip } = this.bus;
    const { values, state } = insideOf(chip as E1000);
    const pending = (values[R.ICR]! & values[R.IMS]!) !== 0;
    const disabled = (chip.config.command & 0x400) !== 0;
    check(values[R.ICR] === values[R.ICS], 'ICR and ICS differ');
    check(state.irqLevel || !pending || state.mitigationNs !== Number.POSITIVE_INFINITY, 'a pending interrupt waits for nothing');
    check(pending || !state.irqLevel, 'the pin is up with nothing pending');
    check(
      irqLevel === (state.irqLevel && !disabled),
      `INTx is ${irqLevel}, the chip says ${state.irqLevel}, INTxDisable ${disabled}`,
    );
    check(((chip.config.bytes[6]! & 8) !== 0) === state.irqLevel, 'Status.INTx does not follow');
  }

  protected override finish(): void {
    const saved = this.bus.chip.save() as E1000Saved;
    const within = (name: string, value: number, most: number): void =>
      check(Number.isInteger(value) && value >= 0 && value <= most, `${name} = ${value}`);
    within('tx.size', saved.tx.size, 0xffff);
    within('tx.segments', saved.tx.segments, 0xffff);
    within('tx.tag + 1', saved.tx.tag + 1, 0x1_0000_0000);
    within('eeprom.bitOut', saved.eeprom.bitOut, 0xffff);
    for (const at of [saved.autonegNs, saved.holdNs, saved.mitigationNs]) check(at >= 0, `a deadline is ${at}`);
  }
}

/** Registers and state, not copied. */
function insideOf(chip: E1000): { values: Uint32Array; state: E1000State } {
  const { regs, state } = chip as unknown as { regs: { values: Uint32Array }; state: E1000State };
  return { values: regs.values, state };
}

export const e1000Target: Target = {
  name: 'e1000',
  ...runsOf((replace) => new Run(replace)),
  seeds: [
    // Both ways: a frame in a legacy descriptor with EOP and RS, the doorbell, a receive descriptor, a frame from the wire.
    Uint8Array.from([
      11, 0, 5, 0, 0, 60, 0, 3, 0, 0x08, 0, 0, 60, 0, 0, 0, 0, 3, 0, 0x0a, 0, 0, 60, 0, 0, 0, 0, 12, 1, 4, 0, 1, 0, 6, 0, 64, 0,
      0, 15, 15,
    ]),
    // A context for checksums, a data descriptor that asks for both.
    Uint8Array.from([
      11, 1, 5, 0, 1, 60, 0, 3, 0, 1, 14, 24, 33, 0, 34, 40, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0x2a, 0, 1, 60, 0, 5, 0, 3, 12, 2, 15,
    ]),
    // A context for a large send, a data descriptor with TSE.
    Uint8Array.from([
      11, 0, 5, 0, 0, 0x90, 1, 3, 0, 7, 14, 24, 33, 0, 34, 50, 0, 0, 0x90, 1, 100, 0, 54, 3, 1, 0x2e, 0, 1, 0x90, 1, 0, 0, 3, 12,
      2,
    ]),
    // Loopback, VLAN, small buffers.
    Uint8Array.from([11, 0x7f, 3, 0, 0x4a, 0, 0, 60, 0, 5, 0, 0, 12, 1, 6, 4, 200, 2, 0, 15, 13, 5]),
    // Link, PHY, EEPROM, I/O ports, time.
    Uint8Array.from([
      9, 0, 9, 1, 7, 6, 8, 17, 0, 0, 0, 0x21, 8, 17, 1, 2, 0, 0, 0, 17, 1, 7, 0, 0, 0, 17, 2, 1, 3, 0, 0, 18, 0, 0x80, 2, 1, 0, 0,
      0, 4, 2, 7, 1, 9,
    ]),
    // Bus mastering off and on, INTxDisable, a reset.
    Uint8Array.from([
      11, 2, 6, 0, 100, 0, 0, 8, 4, 1, 3, 0, 0, 0, 6, 1, 80, 0, 0, 8, 4, 1, 7, 4, 0, 0, 15, 14, 16, 11, 0, 6, 1, 60, 0, 0,
    ]),
  ],
};
