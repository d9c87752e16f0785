/**
 * The Am79C970A as a PCI function: ports, CSRs and BCRs, reset, initialization, interrupt and poll timer; rings.ts follows the
 * rings, receive.ts and transmit.ts move the frames. Behaviour follows QEMU's model pcnet, with the exceptions in docs/pcnet.md.
 */
import { UserError } from '../../../base/errors.ts';
import { alignedStep } from '../../aligned.ts';
import type { DeviceTimer, NetDevice, ReceiveResult, Wire } from '../../interfaces.ts';
import { PciDevice, type DeviceState, type PciSlot } from '../../pci/pci-device.ts';
import { RegisterFile, type RegisterHook } from '../../register-file.ts';
import { widthMask, type RegisterReading } from '../../registers.ts';
import { checkState, copyState } from '../../state.ts';
import { initialize } from './initialization.ts';
import { interruptLevel } from './interrupt.ts';
import { chip, lines, putAccess, putAprom } from './log.ts';
import {
  BSBC_DWIO,
  CSR0_ERR,
  CSR0_ERRORS,
  CSR0_IENA,
  CSR0_INIT,
  CSR0_RXON,
  CSR0_STOP,
  CSR0_STRT,
  CSR0_TDMD,
  CSR0_TXON,
  CSR0_W1C,
  CSR4_DPOLL,
  CSR4_W1C,
  CSR5_SPND,
  CSR5_W1C,
  LED_LINK,
  LED_OUT,
  MC_APROMWE,
  MODE_DRX,
  MODE_DTX,
  MOST_DESCRIPTORS,
  R,
  SWS_CSRPCNET,
  SWS_SSIZE32,
  SWS_STYLE,
  type ChipPort,
} from './port.ts';
import { Receiver } from './receive.ts';
import {
  APROM_LOCK,
  APROM_SIZE,
  BCR_BASE,
  CSR_BASE,
  PCNET_BLOCK_SIZE,
  PCNET_DEVICE_ID,
  PCNET_TABLE_SIZE,
  PCNET_VENDOR_ID,
  pcnetRegisters,
  type PcnetRegister,
} from './registers.ts';
import { Rings } from './rings.ts';
import { type PcnetSaved, PcnetState } from './state.ts';
import { Transmitter } from './transmit.ts';

/** Ports behind the PROM, as offsets from it. */
const WIO = { rdp: 0x0, rap: 0x2, reset: 0x4, bdp: 0x6 } as const;
const DWIO = { rdp: 0x0, rap: 0x4, reset: 0x8, bdp: 0xc } as const;
const PORTS = 0x10;
const RAP_MASK = 0x7f;
const CHIP_ID = 88;

/** The poll timer counts bus clocks of 30 ns up to 16 bits; as in QEMU time itself counts 33 to the ns. */
const POLL_TICK_NS = 30;
const POLL_WRAP = 0x1_0000;
const POLL_PER_NS = 33;
/** A timer that a hostile polling interval would fire every 30 ns keeps to this. */
const MIN_POLL_NS = 100_000;

/** Bits of the mode register that a reset keeps. */
const MODE_KEPT = 0x21c4;
/** STOP clears all of CSR0 but these, and sets them. */
const CSR0_STOPPED = CSR0_STOP | CSR0_TXON;
const CSR4_STOPPED = 0x02c2;
const CSR5_STOPPED = 0x0011;
const LANCE = 0;
const ILACC = 1;
const PCNET_PCI = 2;
const PCNET_PCI_II = 3;
const LED_SOURCES = 0x017f;

const HARDWARE_ID = 0x11;
const SIGNATURE = 0x57;

const STATE_VERSION = 1;

export interface PcnetOptions {
  /** Station address, 6 bytes. */
  readonly mac: Uint8Array;
}

export class Pcnet extends PciDevice implements NetDevice {
  override readonly name = 'pcnet';
  private readonly wire: Wire;
  private readonly state = new PcnetState();
  private readonly regs: RegisterFile<PcnetRegister>;
  private readonly port: ChipPort;
  private readonly rings: Rings;
  private readonly receiver: Receiver;
  private readonly transmitter: Transmitter;
  private readonly timer: DeviceTimer;
  /** In a handler: nothing may come in from outside until it is done. */
  private busy = false;
  /** When the handler is done, let the wire offer again what it holds. */
  private offerAgain = false;

  constructor(slot: PciSlot, wire: Wire, options: PcnetOptions) {
    super(slot, { vendorId: PCNET_VENDOR_ID, deviceId: PCNET_DEVICE_ID, revision: 0x10, classCode: 0x020000, interruptPin: 1 }, [
      { index: 0, kind: 'io', size: PCNET_BLOCK_SIZE, name: 'pcnet-io' },
      { index: 1, kind: 'mem', size: PCNET_BLOCK_SIZE, name: 'pcnet-mmio' },
    ]);
    if (options.mac.length !== 6) throw new UserError(`pcnet: a MAC address has 6 bytes, got ${options.mac.length}`);
    // Fast back-to-back, medium DEVSEL; MinGnt and MaxLat.
    this.config.set(0x06, 2, 0x0280);
    this.config.set(0x3e, 2, 0xff06);
    this.wire = wire;
    this.regs = new RegisterFile(pcnetRegisters, PCNET_TABLE_SIZE, this.hooks(), (lock) =>
      lock === APROM_LOCK ? (this.regs.values[R.BCR2]! & MC_APROMWE) !== 0 : this.quiet,
    );
    this.port = {
      regs: this.regs,
      state: this.state,
      descriptorReads: 0,
      dmaRead: (gpa, buffer, offset, length) => this.dmaRead(gpa, buffer, offset, length),
      dmaWrite: (gpa, buffer, offset, length) => this.dmaWrite(gpa, buffer, offset, length),
      updateInterrupt: () => this.updateInterrupt(),
      poll: () => this.poll(),
    };
    this.rings = new Rings(this.port);
    this.receiver = new Receiver(this.port, this.rings);
    this.transmitter = new Transmitter(this.port, this.rings, this.receiver, (length) => this.send(length));
    this.timer = slot.clock.newTimer(() => this.timeout());
    this.loadProm(options.mac);
    this.resetChip();
  }

  override readBar(_bar: number, offset: number, size: number): number {
    if (this.busy) return 0;
    if (size !== 1 && size !== 2 && size !== 4) return 0xffffffff;
    if (!(offset >= 0 && offset + size <= PCNET_BLOCK_SIZE)) return widthMask(size);
    this.enter();
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
    if (this.busy || (size !== 1 && size !== 2 && size !== 4) || !(offset >= 0 && offset + size <= PCNET_BLOCK_SIZE)) return;
    this.enter();
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
    if (!(length >= 0 && length <= frame.length)) return 'dropped';
    if (this.busy) {
      this.offerAgain = true;
      return 'refused';
    }
    if (!this.state.linkUp) {
      this.state.rxFiltered++;
      return 'dropped';
    }
    this.enter();
    try {
      return this.receiver.receive(frame, length, 'wire', canWait);
    } finally {
      this.leave();
    }
  }

  /** The driver is handed descriptors. */
  hasUnread(): boolean {
    return false;
  }

  remind(): void {}

  setLink(up: boolean): void {
    this.state.linkUp = up;
  }

  statistics(): Record<string, number> {
    const { state } = this;
    return {
      tx_packets: state.txPackets,
      tx_bytes: state.txBytes,
      tx_errors: state.txErrors,
      rx_packets: state.rxPackets,
      rx_bytes: state.rxBytes,
      rx_filtered: state.rxFiltered,
      rx_no_room: state.rxNoRoom,
      rx_missed: this.regs.values[R.CSR112]!,
    };
  }

  override save(): PcnetSaved {
    const { buffer, ...plain } = this.state;
    return {
      device: this.name,
      version: STATE_VERSION,
      pci: this.savePci(),
      registers: this.regs.values.slice(),
      ...plain,
      buffer: buffer.slice(),
    };
  }

  registers(): readonly RegisterReading[] {
    return this.regs.readings();
  }

  override restore(saved: DeviceState): void {
    const { pci, registers, buffer, device: _device, version: _version, ...plain } = checkState(saved, this.save());
    copyState(this.regs.values, registers, this.name);
    Object.assign(this.state, plain);
    copyState(this.state.buffer, buffer, this.name);
    this.restorePci(pci);
    if (this.state.pollAtNs >= 0) this.timer.arm(this.state.pollAtNs);
    else this.timer.cancel();
  }

  /** RST#: bus configuration and all that a read of the reset port resets. */
  protected override resetChip(): void {
    const { values, table } = this.regs;
    for (let i = 0; i < table.length; i++) {
      const { offset, powerOn } = table[i]!;
      if (offset >= BCR_BASE && powerOn !== undefined) values[i] = powerOn;
    }
    this.reset79c970();
    this.updateInterrupt();
    this.pollTimer();
  }

  /** The reset port. */
  private reset79c970(): void {
    const { regs, state } = this;
    const { values } = regs;
    this.slot.log?.(lines.reset, { chip });
    regs.reset();
    state.rdra = 0;
    state.tdra = 0;
    state.rap = 0;
    values[R.BCR18]! &= ~BSBC_DWIO;
    for (let i = 0; i < 3; i++) values[R.CSR12 + i] = values[R.APROM0 + 2 * i]! | (values[R.APROM0 + 2 * i + 1]! << 8);
    values[R.CSR15]! &= MODE_KEPT;
    this.offerAgain = true;
  }

  private loadProm(mac: Uint8Array): void {
    const prom = new Uint8Array(APROM_SIZE);
    prom.set(mac);
    prom[9] = HARDWARE_ID;
    prom.fill(SIGNATURE, 14);
    const sum = prom.reduce((total, byte) => total + byte, 0);
    prom[12] = sum & 0xff;
    prom[13] = sum >> 8;
    prom.forEach((byte, i) => void (this.regs.values[R.APROM0 + i] = byte));
  }

  private enter(): void {
    this.busy = true;
    this.port.descriptorReads = 0;
  }

  private leave(): void {
    this.busy = false;
    if (this.offerAgain) {
      this.offerAgain = false;
      this.wire.receiverReady();
    }
  }

  /** Is the chip stopped or suspended? */
  private get quiet(): boolean {
    const { values } = this.regs;
    return (values[R.CSR0]! & CSR0_STOP) !== 0 || (values[R.CSR5]! & CSR5_SPND) !== 0;
  }

  private get dwio(): boolean {
    return (this.regs.values[R.BCR18]! & BSBC_DWIO) !== 0;
  }

  /** An aligned read of 1, 2 or 4 bytes. Where nothing decodes, or not at this width in this style, it gives ones. */
  private read(offset: number, size: number): number {
    const { log } = this.slot;
    if (log) putAccess(log, false, offset, size, 0);
    const { dwio } = this;
    if (offset < PORTS) {
      if (dwio ? size !== 4 : size === 4) return widthMask(size);
      let value = 0;
      for (let i = 0; i < size; i++) {
        const byte = this.regs.read(offset + i, 1);
        if (log) putAprom(log, false, offset + i, byte);
        value |= byte << (8 * i);
      }
      return value >>> 0;
    }
    if (size === 1) return 0xff;
    this.pollTimer();
    const value = (size === 4) === this.dwio ? this.readPort(offset - PORTS, this.dwio ? DWIO : WIO) : 0xffffffff;
    this.updateInterrupt();
    return (value & widthMask(size)) >>> 0;
  }

  private readPort(port: number, style: typeof WIO | typeof DWIO): number {
    const { rap } = this.state;
    switch (port) {
      case style.rdp:
        return rap === CHIP_ID ? (this.readCsr(rap) | (this.readCsr(rap + 1) << 16)) >>> 0 : this.readCsr(rap);
      case style.rap:
        return rap;
      case style.reset:
        this.reset79c970();
        return 0;
      case style.bdp:
        return this.regs.read(BCR_BASE + 2 * rap, 2);
      default:
        return 0xffffffff;
    }
  }

  private readCsr(n: number): number {
    return this.regs.read(CSR_BASE + 2 * n, 2);
  }

  private write(offset: number, size: number, value: number): void {
    const { log } = this.slot;
    if (log) putAccess(log, true, offset, size, value);
    if (offset < PORTS) {
      if (this.dwio ? size !== 4 : size === 4) return;
      for (let i = 0; i < size; i++) {
        const byte = (value >>> (8 * i)) & 0xff;
        if (log) putAprom(log, true, offset + i, byte);
        this.regs.write(offset + i, 1, byte);
      }
      return;
    }
    if (size === 1) return;
    this.offerAgain = true;
    this.pollTimer();
    if ((size === 4) === this.dwio) this.writePort(offset - PORTS, this.dwio ? DWIO : WIO, value & 0xffff);
    else if (size === 4 && offset === PORTS) this.regs.values[R.BCR18]! |= BSBC_DWIO;
    this.updateInterrupt();
  }

  private writePort(port: number, style: typeof WIO | typeof DWIO, value: number): void {
    const { state, regs } = this;
    if (port === style.rdp) regs.write(CSR_BASE + 2 * state.rap, 2, value);
    else if (port === style.rap) state.rap = value & RAP_MASK;
    else if (port === style.bdp) regs.write(BCR_BASE + 2 * state.rap, 2, value);
  }

  /** Drives INTA# as causes, masks and enables say. */
  private updateInterrupt(): void {
    const { state, slot } = this;
    const level = interruptLevel(this.regs.values, slot.log);
    if (slot.log && level !== state.isr) slot.log(lines.interrupt, { chip, now: Number(level), before: Number(state.isr) });
    state.isr = level;
    this.setIrq(level);
  }

  private start(): void {
    const { values } = this.regs;
    if (!(values[R.CSR15]! & MODE_DTX)) values[R.CSR0]! |= CSR0_TXON;
    if (!(values[R.CSR15]! & MODE_DRX)) values[R.CSR0]! |= CSR0_RXON;
    values[R.CSR0] = (values[R.CSR0]! & ~CSR0_STOP) | CSR0_STRT;
    this.pollTimer();
  }

  private stop(): void {
    const { values } = this.regs;
    values[R.CSR0] = CSR0_STOPPED;
    values[R.CSR4]! &= ~CSR4_STOPPED;
    values[R.CSR5]! &= ~CSR5_STOPPED;
    this.pollTimer();
  }

  /** Looks at both rings; sends what it finds. */
  private poll(): void {
    const { values } = this.regs;
    if (values[R.CSR0]! & CSR0_RXON) this.rings.pollReceive();
    const wanted =
      (values[R.CSR0]! & CSR0_TDMD) !== 0 ||
      ((values[R.CSR0]! & CSR0_TXON) !== 0 && !(values[R.CSR4]! & CSR4_DPOLL) && this.rings.pollTransmit());
    if (wanted && !this.transmitter.busy) this.transmitter.transmit();
  }

  /** What every access to a port begins with, and the poll timer does: a look at the rings when their time has come. */
  private pollTimer(): void {
    const {
      regs: { values },
      state,
    } = this;
    this.timer.cancel();
    state.pollAtNs = -1;
    if (values[R.CSR0]! & CSR0_TDMD) this.transmitter.transmit();
    this.updateInterrupt();
    if (this.quiet || values[R.CSR4]! & CSR4_DPOLL) return;
    const now = this.slot.clock.nowNs();
    if (state.pollBaseNs === 0 || now === 0) {
      state.pollBaseNs = now;
    } else {
      const ticks = (now - state.pollBaseNs) * POLL_PER_NS + values[R.CSR46]!;
      if (ticks >= POLL_WRAP) {
        this.poll();
        values[R.CSR46] = values[R.CSR47]!;
      } else {
        values[R.CSR46] = ticks;
      }
    }
    this.armPoll(now + (POLL_WRAP - (values[R.CSR5]! & CSR5_SPND ? 0 : values[R.CSR46]!)) * POLL_TICK_NS);
  }

  private armPoll(atNs: number): void {
    this.state.pollAtNs = atNs;
    this.timer.arm(atNs);
  }

  private timeout(): void {
    this.enter();
    try {
      this.pollTimer();
      const soonest = this.slot.clock.nowNs() + MIN_POLL_NS;
      if (this.state.pollAtNs >= 0 && this.state.pollAtNs < soonest) this.armPoll(soonest);
    } finally {
      this.offerAgain = true;
      this.leave();
    }
  }

  private send(length: number): void {
    this.state.txPackets++;
    this.state.txBytes += length;
    this.wire.send(this.state.buffer, length);
  }

  private writeStatus(value: number): void {
    const { values } = this.regs;
    const before = values[R.CSR0]! & ~(value & CSR0_W1C);
    values[R.CSR0] = (before & ~CSR0_IENA) | (value & (CSR0_IENA | CSR0_TDMD));
    // With all three set, STOP wins.
    const all = CSR0_INIT | CSR0_STRT | CSR0_STOP;
    const commands = (value & all) === all ? CSR0_STOP : value;
    if (commands & CSR0_STOP && !(values[R.CSR0]! & CSR0_STOP)) this.stop();
    if (commands & CSR0_INIT && !(values[R.CSR0]! & CSR0_INIT)) initialize(this.port, this.slot.log);
    if (commands & CSR0_STRT && !(values[R.CSR0]! & CSR0_STRT)) this.start();
    if (values[R.CSR0]! & CSR0_TDMD) this.transmitter.transmit();
  }

  private writeStyle(value: number): void {
    if (!this.quiet) return;
    const style = value & SWS_STYLE;
    const kept = value & ~(SWS_SSIZE32 | SWS_CSRPCNET);
    const { values } = this.regs;
    if (style === LANCE) values[R.BCR20] = kept | SWS_CSRPCNET;
    else if (style === ILACC) values[R.BCR20] = kept | SWS_SSIZE32;
    else if (style === PCNET_PCI || style === PCNET_PCI_II) values[R.BCR20] = kept | SWS_SSIZE32 | SWS_CSRPCNET;
    else values[R.BCR20] = SWS_CSRPCNET;
  }

  /** What each register does beyond storage. */
  private hooks(): Partial<Record<PcnetRegister, RegisterHook>> {
    const values = () => this.regs.values;
    const w1c = (index: number, mask: number) => (value: number) =>
      void (values()[index] = (value & ~mask) | (values()[index]! & ~value & mask));
    const length = (index: number) => (value: number) => void (values()[index] = value === 0 ? MOST_DESCRIPTORS : value);
    const alias = (index: number): RegisterHook => ({
      read: () => values()[index]!,
      write: (value) => void (values()[index] = value),
    });
    const led = (index: number): RegisterHook => ({
      read: () => {
        const value = values()[index]! & ~LED_OUT;
        return this.state.linkUp && value & LED_SOURCES & LED_LINK ? value | LED_OUT : value;
      },
    });
    const status = (): number => {
      const value = values()[R.CSR0]!;
      return value & CSR0_ERRORS ? value | CSR0_ERR : value;
    };
    return {
      CSR0: {
        read: () => {
          this.updateInterrupt();
          return status();
        },
        peek: status,
        write: (value) => this.writeStatus(value),
      },
      CSR4: { write: w1c(R.CSR4, CSR4_W1C) },
      CSR5: { write: w1c(R.CSR5, CSR5_W1C) },
      CSR16: alias(R.CSR1),
      CSR17: alias(R.CSR2),
      CSR58: { read: () => values()[R.BCR20]!, write: (value) => this.writeStyle(value) },
      CSR76: { write: length(R.CSR76) },
      CSR78: { write: length(R.CSR78) },
      BCR4: led(R.BCR4),
      BCR5: led(R.BCR5),
      BCR6: led(R.BCR6),
      BCR7: led(R.BCR7),
      BCR20: { write: (value) => this.writeStyle(value) },
    };
  }
}
