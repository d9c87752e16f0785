/**
 * The e1000 (82540EM) as a PCI function: registers, PHY access, EEPROM, link, resets, save and restore; transmit.ts and receive.ts move
 * the frames. Behaviour follows QEMU's model, with the exceptions in docs/e1000.md.
 */
import { UserError } from '../../../base/errors.ts';
import type { DeviceTimer, NetDevice, ReceiveResult, Wire } from '../../interfaces.ts';
import { PciDevice, type DeviceState, type PciSlot } from '../../pci/pci-device.ts';
import type { RegisterDef, RegisterReading } from '../../registers.ts';
import { checkState, copyState } from '../../state.ts';
import { Eeprom } from './eeprom.ts';
import { Interrupts } from './interrupt.ts';
import { Link } from './link.ts';
import { lines } from './log.ts';
import { CTRL_RST, R, RAH_AV, RCTL_EN, STATUS_LU, type ChipPort } from './port.ts';
import { Receiver } from './receive.ts';
import { RegisterBlock, type BlockHook } from './register-block.ts';
import {
  e1000Registers,
  E1000_BLOCK_SIZE,
  E1000_DEVICE_ID,
  E1000_IO_SIZE,
  E1000_VENDOR_ID,
  type E1000Register,
} from './registers.ts';
import { E1000State, type E1000Saved } from './state.ts';
import { Transmitter } from './transmit.ts';

const MS = 1_000_000;
/** How long frames are held back after a write of RCTL. */
const HOLD_MS = 1000;

/** Longest frame taken from the wire. */
const MAX_FRAME = 0xffff;
const PCI_COMMAND = 4;
const IO_DATA = 4;
const STATE_VERSION = 1;

export interface E1000Options {
  /** Station address, 6 bytes. */
  readonly mac: Uint8Array;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

export class E1000 extends PciDevice implements NetDevice {
  override readonly name = 'e1000';
  private readonly mac: Uint8Array;
  private readonly wire: Wire;
  private readonly state = new E1000State();
  private readonly regs: RegisterBlock<E1000Register>;
  private readonly eeprom: Eeprom;
  private readonly interrupts: Interrupts;
  private readonly link: Link;
  private readonly transmitter: Transmitter;
  private readonly receiver: Receiver;
  private readonly autonegTimer: DeviceTimer;
  private readonly holdTimer: DeviceTimer;
  private readonly mitigationTimer: DeviceTimer;
  /** In a handler: nothing may come in from outside until it is done. */
  private busy = false;
  /** When the handler is done, let the wire offer again what it holds: `flush` as this chip does it, `offer` as any time. */
  private afterwards: 'flush' | 'offer' | undefined;
  /** The next frame that the wire offers is the one that waited, and is taken or dropped whatever the receiver says. */
  private flushing = false;

  constructor(slot: PciSlot, wire: Wire, options: E1000Options) {
    super(
      slot,
      {
        vendorId: E1000_VENDOR_ID,
        deviceId: E1000_DEVICE_ID,
        revision: 3,
        classCode: 0x020000,
        subsystemVendorId: options.subsystemVendorId ?? 0x1af4,
        subsystemId: options.subsystemId ?? 0x1100,
        interruptPin: 1,
      },
      [
        { index: 0, kind: 'mem', size: E1000_BLOCK_SIZE, name: 'e1000-mmio' },
        { index: 1, kind: 'io', size: E1000_IO_SIZE, name: 'e1000-io' },
      ],
    );
    if (options.mac.length !== 6) throw new UserError(`e1000: a MAC address has 6 bytes, got ${options.mac.length}`);
    this.mac = options.mac.slice();
    this.wire = wire;
    this.eeprom = new Eeprom(this.mac);
    this.regs = new RegisterBlock(e1000Registers, E1000_BLOCK_SIZE, this.hooks());
    const { log, clock } = slot;
    if (log) this.regs.log = (write, register, offset, value) => this.logAccess(write, register, offset, value);
    this.autonegTimer = clock.newTimer(() => {
      this.state.autonegNs = Number.POSITIVE_INFINITY;
      this.link.negotiated();
    });
    this.holdTimer = clock.newTimer(() => this.holdOver());
    this.mitigationTimer = clock.newTimer(() => this.interrupts.expired());
    this.interrupts = new Interrupts({
      values: this.regs.values,
      state: this.state,
      setPin: (level) => this.setIrq(level),
      armMitigation: (atNs) => this.mitigationTimer.arm(atNs),
      nowNs: () => clock.nowNs(),
    });
    const port: ChipPort = {
      regs: this.regs,
      state: this.state,
      log,
      dmaRead: (gpa, buffer, offset, length) => this.dmaRead(gpa, buffer, offset, length),
      dmaWrite: (gpa, buffer, offset, length) => this.dmaWrite(gpa, buffer, offset, length),
      transfer: (frame, length) => this.transfer(frame, length),
      interrupt: (causes) => this.raise(causes),
    };
    this.link = new Link({
      ...port,
      armNegotiation: (ms) => {
        this.state.autonegNs = this.afterMs(ms);
        this.autonegTimer.arm(this.state.autonegNs);
      },
      flush: () => this.flush(),
    });
    this.transmitter = new Transmitter(port);
    this.receiver = new Receiver(port);
    this.resetChip();
  }

  override readBar(bar: number, offset: number, size: number): number {
    if (this.busy) return 0;
    this.busy = true;
    try {
      return bar === 1 ? this.readIo(offset, size) : this.regs.read(offset, size);
    } finally {
      this.leave();
    }
  }

  override writeBar(bar: number, offset: number, size: number, value: number): void {
    if (this.busy) return;
    this.busy = true;
    try {
      if (bar === 1) this.writeIo(offset, size, value);
      else this.regs.write(offset, size, value);
    } finally {
      this.leave();
    }
  }

  override writeConfig(offset: number, size: number, value: number): void {
    super.writeConfig(offset, size, value);
    if (offset <= PCI_COMMAND && offset + size > PCI_COMMAND && this.busMaster) this.flush();
  }

  receive(frame: Uint8Array, length: number, canWait?: boolean): ReceiveResult {
    if (!(length >= 0 && length <= MAX_FRAME && length <= frame.length)) return 'dropped';
    if (this.busy) {
      this.afterwards ??= 'offer';
      return 'refused';
    }
    const waited = this.flushing;
    this.flushing = false;
    this.busy = true;
    try {
      const result = this.offered(frame, length, waited, canWait);
      this.state.frameWaits = result === 'refused' || result === 'held';
      return result;
    } finally {
      this.leave();
    }
  }

  hasUnread(): boolean {
    return false;
  }

  remind(): void {
    // A driver that is handed descriptors forgets none.
  }

  setLink(up: boolean): void {
    this.link.set(up);
  }

  statistics(): Record<string, number> {
    const { state } = this;
    const { values } = this.regs;
    return {
      tx_packets: state.txPackets,
      tx_bytes: state.txBytes,
      rx_packets: state.rxPackets,
      rx_bytes: state.rxBytes,
      tx_large_sends: state.txLargeSends,
      tx_segments: state.txSegments,
      rx_filtered: state.rxFiltered,
      rx_no_room: state.rxNoRoom,
      // The counters of the chip that it keeps, as e1000's `ethtool -S` names them.
      rx_missed_errors: values[R.MPC]!,
      rx_no_buffer_count: values[R.RNBC]!,
      rx_long_length_errors: values[R.ROC]!,
      rx_short_length_errors: values[R.RUC]!,
      rx_broadcast: values[R.BPRC]!,
      rx_multicast: values[R.MPRC]!,
      tx_broadcast: values[R.BPTC]!,
      tx_multicast: values[R.MPTC]!,
      tx_tcp_seg_good: values[R.TSCTC]!,
    };
  }

  override save(): E1000Saved {
    const { tx, ...plain } = this.state;
    const { buffer, header, ...fields } = tx;
    return {
      device: this.name,
      version: STATE_VERSION,
      pci: this.savePci(),
      registers: this.regs.values.slice(),
      phy: this.link.phy.values.slice(),
      eeprom: { ...this.eeprom.state },
      ...plain,
      tx: { ...structuredClone(fields), buffer: buffer.slice(0, tx.size), header: header.slice() },
    };
  }

  registers(): readonly RegisterReading[] {
    return this.regs.readings();
  }

  override restore(saved: DeviceState): void {
    const state = checkState(saved, this.save());
    const { pci, registers, phy, eeprom, tx, device: _device, version: _version, ...plain } = state;
    copyState(this.regs.values, registers, this.name);
    copyState(this.link.phy.values, phy, this.name);
    Object.assign(this.eeprom.state, eeprom);
    Object.assign(this.state, plain);
    const { buffer, header, ...fields } = tx;
    Object.assign(this.state.tx, structuredClone(fields));
    copyState(this.state.tx.buffer, buffer, this.name);
    copyState(this.state.tx.header, header, this.name);
    this.restorePci(pci);
    this.armTimers();
  }

  /** Power-on and PCI reset. What came over the EEPROM's wires stays, as in QEMU. */
  protected override resetChip(): void {
    const { regs, state } = this;
    state.autonegNs = Number.POSITIVE_INFINITY;
    state.holdNs = Number.POSITIVE_INFINITY;
    state.mitigationNs = Number.POSITIVE_INFINITY;
    this.armTimers();
    state.irqLevel = false;
    state.delayTx = false;
    state.ioAddress = 0;
    state.tx.reset();
    regs.reset();
    this.link.reset();
    const { values } = regs;
    const { mac } = this;
    values[R.RAL] = mac[0]! | (mac[1]! << 8) | (mac[2]! << 16) | (mac[3]! << 24);
    values[R.RAH] = mac[4]! | (mac[5]! << 8) | RAH_AV;
    this.setIrq(false);
  }

  private leave(): void {
    this.busy = false;
    const { afterwards } = this;
    if (afterwards === undefined) return;
    this.afterwards = undefined;
    if (afterwards === 'flush') this.flush();
    else this.wire.receiverReady();
  }

  private armTimers(): void {
    const { state } = this;
    for (const [timer, at] of [
      [this.autonegTimer, state.autonegNs],
      [this.holdTimer, state.holdNs],
      [this.mitigationTimer, state.mitigationNs],
    ] as const) {
      if (at === Number.POSITIVE_INFINITY) timer.cancel();
      else timer.arm(at);
    }
  }

  /** Whole milliseconds of the clock, as QEMU's timers count, and some more. */
  private afterMs(ms: number): number {
    return (Math.floor(this.slot.clock.nowNs() / MS) + ms) * MS;
  }

  private raise(causes: number): void {
    const { values } = this.regs;
    if (this.slot.log) this.slot.log(lines.setIcs, { causes, icr: values[R.ICR]!, ims: values[R.IMS]! });
    this.interrupts.raise(causes);
  }

  /** May the wire offer a frame? */
  private canReceive(): boolean {
    const { values } = this.regs;
    return (
      (values[R.STATUS]! & STATUS_LU) !== 0 &&
      (values[R.RCTL]! & RCTL_EN) !== 0 &&
      this.busMaster &&
      this.receiver.hasRoom(1) &&
      this.state.holdNs === Number.POSITIVE_INFINITY
    );
  }

  /**
   * A frame that the receiver cannot take waits on the wire. When something changes for the receiver QEMU hands it the frame that
   * waited without asking again: a receiver that is off then loses it.
   * @param waited the frame is that one
   * @param canWait see NetDevice; undefined: the wire holds what is refused, and does not mind how long
   */
  private offered(frame: Uint8Array, length: number, waited: boolean, canWait: boolean | undefined): ReceiveResult {
    const { values } = this.regs;
    const off = !this.state.linkUp || !(values[R.STATUS]! & STATUS_LU) || !(values[R.RCTL]! & RCTL_EN);
    const held = this.state.holdNs !== Number.POSITIVE_INFINITY;
    if (canWait !== false) {
      if (held && !off) return 'held';
      if (!waited && !this.canReceive()) return 'refused';
    }
    if (off || held) {
      this.state.rxFiltered++;
      return 'dropped';
    }
    return this.receiver.receive(frame, length, canWait === true);
  }

  /** Something changed for the receiver: the frame that waits is offered now. */
  private flush(): void {
    if (this.busy) {
      this.afterwards = 'flush';
      return;
    }
    this.flushing = this.state.frameWaits;
    this.wire.receiverReady();
    this.flushing = false;
  }

  /** A frame leaves the transmitter. */
  private transfer(frame: Uint8Array, length: number): void {
    const { state } = this;
    if (this.link.phy.loopback) {
      // Once, straight into the receiver: nothing that a received frame brings about transmits.
      if (state.linkUp && this.canReceive()) this.receiver.receive(frame, length, false);
      return;
    }
    if (!state.linkUp) return;
    state.txPackets++;
    state.txBytes += length;
    this.wire.send(frame, length);
  }

  private holdOver(): void {
    this.state.holdNs = Number.POSITIVE_INFINITY;
    this.flush();
  }

  private readIo(offset: number, size: number): number {
    if (size !== 4 || (offset !== 0 && offset !== IO_DATA)) return 0;
    const { ioAddress } = this.state;
    if (offset === 0) return ioAddress;
    return ioAddress < E1000_BLOCK_SIZE ? this.regs.read(ioAddress & ~3, 4) : 0;
  }

  private writeIo(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    const { state } = this;
    if (offset === 0) state.ioAddress = value >>> 0;
    else if (offset === IO_DATA && state.ioAddress < E1000_BLOCK_SIZE) this.regs.write(state.ioAddress & ~3, 4, value);
  }

  private logAccess(write: boolean, register: RegisterDef | undefined, offset: number, value: number): void {
    const log = this.slot.log!;
    const place = offset & ~3;
    const absent = register === undefined || register.access === 'none';
    if (write && absent) log(lines.unknownWrite, { offset: place, value });
    else if (!write && (absent || register.access === 'cmd')) log(lines.unknownRead, { offset: place });
    else if (write && (register?.access === 'ro' || register?.access === 'rc')) log(lines.readOnly, { offset: place, value });
  }

  /** What each register does beyond storage. */
  private hooks(): Partial<Record<E1000Register, BlockHook>> {
    const values = (): Uint32Array => this.regs.values;
    const tail = e1000Registers.find((r) => r.name === 'TDT')!.writable!;
    const stored = (index: number): number => values()[index]!;
    const clearBoth = (high: number): number => {
      const value = values()[high]!;
      values()[high] = 0;
      values()[high - 1] = 0;
      return value;
    };
    const startTransmission = (value: number, index: number): void => {
      values()[index] = value;
      values()[R.TDT]! &= tail;
      this.transmitter.start();
    };
    return {
      CTRL: {
        write: (value) => {
          values()[R.CTRL] = value & ~CTRL_RST;
          // No byte of a frame begun before the reset may leave after it; nothing else is reset, as in QEMU.
          if (value & CTRL_RST) this.state.tx.reset();
        },
      },
      EECD: {
        read: () => {
          const { bitOut, reading } = this.eeprom.state;
          if (this.slot.log) this.slot.log(lines.eepromRead, { bit: bitOut, reading: Number(reading) });
          return this.eeprom.eecd;
        },
        peek: () => this.eeprom.eecd,
        write: (value) => {
          const before = this.eeprom.state.bitsIn;
          this.eeprom.setWires(value);
          const { bitsIn, bitOut, reading } = this.eeprom.state;
          if (this.slot.log && bitsIn !== before && bitsIn !== 0)
            this.slot.log(lines.eepromShift, { bitsIn, bitOut, reading: Number(reading) });
        },
      },
      EERD: { read: () => this.eeprom.eerd(values()[R.EERD]!) },
      MDIC: { write: (value) => this.link.writeMdic(value) },
      ICR: {
        read: () => {
          const value = values()[R.ICR]!;
          if (this.slot.log) this.slot.log(lines.icrRead, { value });
          this.interrupts.set(0);
          return value;
        },
        peek: () => values()[R.ICR]!,
        write: (value) => {
          if (this.slot.log) this.slot.log(lines.setIcr, { value });
          this.interrupts.set((values()[R.ICR]! & ~value) >>> 0);
        },
      },
      ICS: { write: (value) => this.raise(value) },
      IMS: {
        write: (value) => {
          values()[R.IMS]! |= value;
          this.raise(0);
        },
      },
      IMC: {
        write: (value) => {
          values()[R.IMS]! &= ~value;
          this.raise(0);
        },
      },
      RCTL: {
        write: (value) => {
          values()[R.RCTL] = value;
          if (this.slot.log) this.slot.log(lines.rctl, { rdt: values()[R.RDT]!, rctl: value });
          this.state.holdNs = this.afterMs(HOLD_MS);
          this.holdTimer.arm(this.state.holdNs);
        },
      },
      RDT: {
        write: (value) => {
          values()[R.RDT] = value & tail;
          if (this.receiver.hasRoom(1)) this.flush();
        },
      },
      TCTL: { write: startTransmission },
      TDT: { write: startTransmission },
      GORCH: { read: clearBoth, peek: stored },
      GOTCH: { read: clearBoth, peek: stored },
      TORH: { read: clearBoth, peek: stored },
      TOTH: { read: clearBoth, peek: stored },
    };
  }
}
