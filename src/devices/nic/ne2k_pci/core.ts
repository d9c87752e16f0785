/**
 * The RTL8029 as a PCI function: registers, reset, interrupt and transmitter; receive.ts takes frames, remote.ts is the data
 * port. The chip does no bus-master DMA: frames lie in its own memory. Behaviour follows QEMU's model ne2k_pci, with the
 * exceptions in docs/ne2k_pci.md.
 */
import { UserError } from '../../../base/errors.ts';
import { alignedStep } from '../../aligned.ts';
import type { NetDevice, ReceiveResult, Wire } from '../../interfaces.ts';
import { PciDevice, type DeviceState, type PciSlot } from '../../pci/pci-device.ts';
import { RegisterFile, type RegisterHook } from '../../register-file.ts';
import { widthMask, type RegisterReading } from '../../registers.ts';
import { checkState, copyState } from '../../state.ts';
import { putAccess } from './log.ts';
import {
  CMD_PAGE_SHIFT,
  CMD_REMOTE,
  CMD_STOP,
  CMD_TRANS,
  ISR_ALL,
  ISR_RDC,
  ISR_RESET,
  ISR_RX,
  ISR_TX,
  R,
  TSR_PTX,
  W,
  type ChipPort,
} from './port.ts';
import { Receiver } from './receive.ts';
import {
  NE2K_BLOCK_SIZE,
  NE2K_DATA_PORT,
  NE2K_DEVICE_ID,
  NE2K_PAGED_PORTS,
  NE2K_RESET_PORT,
  NE2K_TABLE_SIZE,
  NE2K_VENDOR_ID,
  ne2kRegisters,
  tableOffset,
  type Ne2kRegister,
} from './registers.ts';
import { RemoteDma } from './remote.ts';
import { type Ne2kSaved, Ne2kState, PMEM_END, PMEM_SIZE } from './state.ts';

/** Last page of the packet memory, and the page behind it. */
const PAGES_END = PMEM_END >> 8;
/** Longest frame taken from the wire: with its header, what the 16-bit length in the ring can say. */
const MAX_FRAME = 0xffff - 4;
/** Bytes of the PROM that read 'W': this is a 16-bit card. */
const PROM_SIGNATURE = 0x57;

const STATE_VERSION = 1;

export interface Ne2kOptions {
  /** Station address, 6 bytes. */
  readonly mac: Uint8Array;
}

export class Ne2kPci extends PciDevice implements NetDevice {
  override readonly name = 'ne2k_pci';
  private readonly mac: Uint8Array;
  private readonly wire: Wire;
  private readonly state = new Ne2kState();
  private readonly regs: RegisterFile<Ne2kRegister>;
  private readonly remote: RemoteDma;
  private readonly receiver: Receiver;
  /** The frame being sent. */
  private readonly frame = new Uint8Array(PMEM_END);
  /** In a handler: nothing may come in from outside until it is done. */
  private busy = false;
  /** When the handler is done, let the wire offer again what it holds. */
  private offerAgain = false;

  constructor(slot: PciSlot, wire: Wire, options: Ne2kOptions) {
    super(
      slot,
      {
        vendorId: NE2K_VENDOR_ID,
        deviceId: NE2K_DEVICE_ID,
        revision: 0,
        classCode: 0x020000,
        subsystemVendorId: 0x1af4,
        subsystemId: 0x1100,
        interruptPin: 1,
      },
      [{ index: 0, kind: 'io', size: NE2K_BLOCK_SIZE, name: 'ne2000' }],
    );
    if (options.mac.length !== 6) throw new UserError(`ne2k_pci: a MAC address has 6 bytes, got ${options.mac.length}`);
    this.mac = options.mac.slice();
    this.wire = wire;
    this.regs = new RegisterFile(ne2kRegisters, NE2K_TABLE_SIZE, this.hooks());
    const port: ChipPort = { regs: this.regs, state: this.state, interrupt: (bits) => this.interrupt(bits) };
    this.remote = new RemoteDma(port);
    this.receiver = new Receiver(port);
    this.resetPulse();
  }

  override readBar(_bar: number, offset: number, size: number): number {
    if (this.busy) return 0;
    if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;
    if (!(offset >= 0 && offset + size <= NE2K_BLOCK_SIZE)) return widthMask(size);
    this.busy = true;
    try {
      let value = 0;
      for (let done = 0, step = 0; done < size; done += step) {
        step = alignedStep(offset + done, size - done);
        value = (value | (this.read(offset + done, step) << (8 * done))) >>> 0;
      }
      return value;
    } finally {
      this.leave();
    }
  }

  override writeBar(_bar: number, offset: number, size: number, value: number): void {
    if (this.busy || (size !== 1 && size !== 2 && size !== 4) || !(offset >= 0 && offset + size <= NE2K_BLOCK_SIZE)) return;
    this.busy = true;
    try {
      for (let done = 0, step = 0; done < size; done += step) {
        step = alignedStep(offset + done, size - done);
        this.write(offset + done, step, ((value >>> (8 * done)) & widthMask(step)) >>> 0);
      }
    } finally {
      this.leave();
    }
  }

  receive(frame: Uint8Array, length: number, canWait = false): ReceiveResult {
    if (!(length >= 0 && length <= MAX_FRAME && length <= frame.length)) return 'dropped';
    if (this.busy) {
      this.offerAgain = true;
      return 'refused';
    }
    if (!this.state.linkUp) {
      this.state.rxFiltered++;
      return 'dropped';
    }
    this.busy = true;
    try {
      return this.receiver.receive(frame, length, canWait);
    } finally {
      this.leave();
    }
  }

  hasUnread(): boolean {
    return this.receiver.hasUnread();
  }

  remind(): void {
    const { values } = this.regs;
    const wanted = values[W.EN0_IMR]! & ISR_ALL;
    if (this.hasUnread() && wanted & ISR_RX && !(values[R.EN0_ISR]! & wanted)) this.interrupt(ISR_RX);
  }

  /** The chip has no register that tells of the cable: with it out, nothing comes in and nothing leaves. */
  setLink(up: boolean): void {
    this.state.linkUp = up;
  }

  statistics(): Record<string, number> {
    const { state } = this;
    return {
      tx_packets: state.txPackets,
      tx_bytes: state.txBytes,
      rx_packets: state.rxPackets,
      rx_bytes: state.rxBytes,
      rx_filtered: state.rxFiltered,
      rx_no_room: state.rxNoRoom,
    };
  }

  override save(): Ne2kSaved {
    const { mem, ...plain } = this.state;
    return {
      device: this.name,
      version: STATE_VERSION,
      pci: this.savePci(),
      registers: this.regs.values.slice(),
      ...plain,
      mem: mem.slice(),
    };
  }

  registers(): readonly RegisterReading[] {
    return this.regs.readings();
  }

  override restore(saved: DeviceState): void {
    const { pci, registers, mem, device: _device, version: _version, ...plain } = checkState(saved, this.save());
    copyState(this.regs.values, registers, this.name);
    Object.assign(this.state, plain);
    copyState(this.state.mem, mem, this.name);
    this.restorePci(pci);
  }

  /** A bus reset reaches the PCI header and the pin alone, as in QEMU: the chip goes on until its reset port is read. */
  protected override resetChip(): void {
    this.setIrq(false);
  }

  /** The reset port: ISR says so, and the PROM is loaded anew. The pin follows with the next interrupt or mask. */
  private resetPulse(): void {
    const { mem } = this.state;
    this.regs.reset();
    mem.set(this.mac);
    mem[14] = PROM_SIGNATURE;
    mem[15] = PROM_SIGNATURE;
    for (let i = 15; i >= 0; i--) {
      mem[2 * i] = mem[i]!;
      mem[2 * i + 1] = mem[2 * i]!;
    }
  }

  private leave(): void {
    this.busy = false;
    if (this.offerAgain) {
      this.offerAgain = false;
      this.wire.receiverReady();
    }
  }

  /** An aligned read of 1, 2 or 4 bytes. Where nothing decodes, or not at this width, it gives ones. */
  private read(port: number, size: number): number {
    let value = widthMask(size);
    if (port === NE2K_DATA_PORT) value = this.remote.read(size);
    else if (size === 1 && (port < NE2K_PAGED_PORTS || port === NE2K_RESET_PORT))
      value = this.regs.read(tableOffset(port, this.page), 1);
    const { log } = this.slot;
    if (log) putAccess(log, false, port, size, value);
    return value;
  }

  private write(port: number, size: number, value: number): void {
    const { log } = this.slot;
    if (log) putAccess(log, true, port, size, value);
    if (port === NE2K_DATA_PORT) this.remote.write(size, value);
    else if (size === 1 && port < NE2K_PAGED_PORTS) this.regs.write(tableOffset(port, this.page), 1, value);
  }

  /** The register page that Command selects. */
  private get page(): number {
    return this.regs.values[R.E8390_CMD]! >> CMD_PAGE_SHIFT;
  }

  private interrupt(bits: number): void {
    this.regs.values[R.EN0_ISR]! |= bits;
    this.updateInterrupt();
  }

  private updateInterrupt(): void {
    const { values } = this.regs;
    this.setIrq((values[R.EN0_ISR]! & values[W.EN0_IMR]! & ISR_ALL) !== 0);
  }

  private writeCommand(value: number): void {
    const {
      regs: { values },
      state,
    } = this;
    values[R.E8390_CMD] = value;
    if (value & CMD_STOP) return;
    values[R.EN0_ISR]! &= ~ISR_RESET;
    if (value & CMD_REMOTE && state.rcnt === 0) this.interrupt(ISR_RDC);
    if (value & CMD_TRANS) this.transmit();
  }

  /** Sends the frame at TPSR. One that does not lie in the chip's memory as a whole is not sent, though reported as sent. */
  private transmit(): void {
    const {
      regs: { values },
      state,
    } = this;
    let at = values[W.EN0_TPSR]! << 8;
    if (at >= PMEM_END) at -= PMEM_SIZE;
    const length = values[W.EN0_TCNTLO]! | (values[W.EN0_TCNTHI]! << 8);
    if (at + length <= PMEM_END && state.linkUp) {
      for (let i = 0; i < length; i++) this.frame[i] = state.mem[at + i]!;
      state.txPackets++;
      state.txBytes += length;
      this.wire.send(this.frame, length);
    }
    state.tsr = TSR_PTX;
    values[R.E8390_CMD]! &= ~CMD_TRANS;
    this.interrupt(ISR_TX);
  }

  /** What each register does beyond storage. */
  private hooks(): Partial<Record<Ne2kRegister, RegisterHook>> {
    const values = () => this.regs.values;
    const { state } = this;
    const zero = () => 0;
    /** A page of the packet memory, or no write at all. `most`: the highest page that may be written. */
    const page =
      (index: number, most: number): ((value: number) => void) =>
      (value) => {
        if (value > most) return;
        values()[index] = value;
        this.offerAgain = true;
      };
    const count = (shift: number) => (value: number) => void (state.rcnt = (state.rcnt & (0xff00 >> shift)) | (value << shift));
    const start = (shift: number) => (value: number) => void (state.rsar = (state.rsar & (0xff00 >> shift)) | (value << shift));
    const hooks: Partial<Record<Ne2kRegister, RegisterHook>> = {
      E8390_CMD: { write: (value) => this.writeCommand(value) },
      EN0_CLDALO: { read: zero, write: page(W.EN0_STARTPG, PAGES_END) },
      EN0_CLDAHI: { read: zero, write: page(W.EN0_STOPPG, PAGES_END) },
      EN0_BOUNDARY: { write: page(R.EN0_BOUNDARY, PAGES_END - 1) },
      EN0_TSR: { read: () => state.tsr },
      EN0_NCR: { read: zero },
      EN0_FIFO: { read: zero },
      EN0_ISR: {
        write: (value) => {
          values()[R.EN0_ISR]! &= ~(value & ISR_ALL);
          this.updateInterrupt();
        },
      },
      EN0_CRDALO: { read: () => state.rsar & 0xff, write: start(0) },
      EN0_CRDAHI: { read: () => (state.rsar >>> 8) & 0xff, write: start(8) },
      EN0_RTL8029ID0: { read: () => 0x50, write: count(0) },
      EN0_RTL8029ID1: { read: () => 0x43, write: count(8) },
      EN0_RSR: { read: () => state.rsr },
      EN0_COUNTER0: { read: zero },
      EN0_COUNTER1: { read: zero },
      EN0_COUNTER2: {
        read: zero,
        write: (value) => {
          values()[W.EN0_IMR] = value;
          this.updateInterrupt();
        },
      },
      NE_RESET: {
        read: () => {
          this.resetPulse();
          return 0;
        },
        peek: zero,
      },
      EN1_CURPAG: { write: page(R.EN1_CURPAG, PAGES_END - 1) },
      EN2_STARTPG: { read: () => values()[W.EN0_STARTPG]! },
      EN2_STOPPG: { read: () => values()[W.EN0_STOPPG]! },
    };
    return hooks;
  }
}
