/**
 * The RTL8139 as a PCI function: registers, resets, PHY, timer, interrupt, EEPROM and tally dump; transmit.ts and
 * receive.ts move the frames. Behaviour follows QEMU's model, with the exceptions in docs/rtl8139.md.
 */
import type { RegisterReading } from '../../registers.ts';
import { UserError } from '../../../base/errors.ts';
import type { DeviceTimer, NetDevice, ReceiveResult, Wire } from '../../interfaces.ts';
import { PciDevice, type DeviceState, type PciSlot } from '../../pci/pci-device.ts';
import { RegisterFile, type RegisterHook } from '../../register-file.ts';
import { checkState, copyState } from '../../state.ts';
import { Eeprom93c46 } from '../eeprom-93c46.ts';
import { lines, putAccess } from './log.ts';
import {
  addr64,
  BMCR_RESET,
  BMSR_LINK,
  CMD_RESET,
  CMD_RX_EMPTY,
  CMD_RX_ENABLE,
  CMD_TX_ENABLE,
  DUMP_STATS,
  EECS,
  EEDI,
  EEDO,
  EESK,
  INT_LINK_CHANGE,
  INT_RX_OK,
  LINK_CHANGE,
  INT_TIMEOUT,
  MODE_AUTOLOAD,
  MODE_CONFIG_WRITE,
  MODE_MASK,
  MODE_PROGRAM,
  POLL_HIGH,
  POLL_NORMAL,
  R,
  RX_BUF_LEN,
  TX_ABORTED,
  TX_LOOPBACK,
  TX_OK,
  TX_OWN,
  TX_UNDERRUN,
  type ChipPort,
} from './port.ts';
import { Receiver } from './receive.ts';
import {
  CONFIG_LOCK,
  rtl8139Registers,
  RTL8139_BLOCK_SIZE,
  RTL8139_DEVICE_ID,
  RTL8139_VENDOR_ID,
  type Rtl8139Register,
} from './registers.ts';
import { DEFAULT_RING_SIZE, type Rtl8139Saved, Rtl8139State, Tally, TALLY_SIZE, tallyLayout } from './state.ts';
import { Transmitter } from './transmit.ts';

/** The PCI clock that Timer counts: 33 MHz, rounded to 30 ns as in QEMU. */
const TIMER_PERIOD_NS = 30;
const TIMER_WRAP = 0x1_0000_0000;
const TIMER_WRAP_NS = TIMER_PERIOD_NS * TIMER_WRAP;

const EEPROM_SIGNATURE = 0x8129;
const EEPROM_MAC = 7;

/** MediaStatus apart from the link: both flow controls, auxiliary power. */
const MEDIA_STATUS = 0xd0;
/** Bits of TxStatus that a write in C mode leaves alone. */
const TX_STATUS_KEPT = 0x00c00000;

/** Longest frame taken from the wire: with its CRC, what the 16-bit length of C mode can say. */
const MAX_FRAME = 0xffff - 4;

const STATE_VERSION = 1;

export interface Rtl8139Options {
  /** Station address, 6 bytes. */
  readonly mac: Uint8Array;
  /** PCI revision: 0x20 (default) is the RTL8139C+, for Linux's 8139cp; 0x10 is what 8139too takes. */
  readonly revision?: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

export class Rtl8139 extends PciDevice implements NetDevice {
  override readonly name = 'rtl8139';
  private readonly mac: Uint8Array;
  private readonly wire: Wire;
  private readonly state = new Rtl8139State();
  private readonly regs: RegisterFile<Rtl8139Register>;
  private readonly eeprom = new Eeprom93c46();
  private readonly transmitter: Transmitter;
  private readonly receiver: Receiver;
  private readonly timer: DeviceTimer;
  private readonly tallyDump = new Uint8Array(TALLY_SIZE);
  /** In a handler: nothing may come in from outside until it is done. */
  private busy = false;
  /** When the handler is done, let the wire offer again what it holds. */
  private offerAgain = false;

  constructor(slot: PciSlot, wire: Wire, options: Rtl8139Options) {
    super(
      slot,
      {
        vendorId: RTL8139_VENDOR_ID,
        deviceId: RTL8139_DEVICE_ID,
        revision: options.revision ?? 0x20,
        classCode: 0x020000,
        subsystemVendorId: options.subsystemVendorId ?? 0x1af4,
        subsystemId: options.subsystemId ?? 0x1100,
        interruptPin: 1,
      },
      [
        { index: 0, kind: 'io', size: RTL8139_BLOCK_SIZE },
        { index: 1, kind: 'mem', size: RTL8139_BLOCK_SIZE },
      ],
    );
    if (options.mac.length !== 6) throw new UserError(`rtl8139: a MAC address has 6 bytes, got ${options.mac.length}`);
    // QEMU names a capability pointer that no Status bit announces; drivers do not look.
    this.config.set(0x34, 1, 0xdc);
    this.mac = options.mac.slice();
    this.wire = wire;
    this.regs = new RegisterFile(
      rtl8139Registers,
      RTL8139_BLOCK_SIZE,
      this.hooks(),
      (lock) => lock !== CONFIG_LOCK || (this.regs.values[R.Cfg9346]! & MODE_MASK) === MODE_CONFIG_WRITE,
    );
    const { log } = slot;
    if (log)
      this.regs.log = (write, register, offset, size, value) =>
        putAccess(log, write, register, offset, size, value, this.state.cplusEnabled);
    const port: ChipPort = {
      regs: this.regs,
      state: this.state,
      log,
      dmaRead: (gpa, buffer, offset, length) => this.dmaRead(gpa, buffer, offset, length),
      dmaWrite: (gpa, buffer, offset, length) => this.dmaWrite(gpa, buffer, offset, length),
      transfer: (frame, length, inserted) => this.transfer(frame, length, inserted),
      interrupt: (bits) => this.interrupt(bits),
    };
    this.transmitter = new Transmitter(port);
    this.receiver = new Receiver(port);
    this.timer = slot.clock.newTimer(() => this.timeout());
    const words = this.eeprom.state.contents;
    words[0] = EEPROM_SIGNATURE;
    words[1] = RTL8139_VENDOR_ID;
    words[2] = RTL8139_DEVICE_ID;
    for (let i = 0; i < 3; i++) words[EEPROM_MAC + i] = this.mac[2 * i]! | (this.mac[2 * i + 1]! << 8);
    this.resetChip();
  }

  override readBar(_bar: number, offset: number, size: number): number {
    if (this.busy) return 0;
    this.busy = true;
    try {
      return this.regs.read(offset, size);
    } finally {
      this.leave();
    }
  }

  override writeBar(_bar: number, offset: number, size: number, value: number): void {
    if (this.busy) return;
    this.busy = true;
    try {
      this.regs.write(offset, size, value);
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
    if (!this.receiver.canReceive()) return 'refused';
    this.busy = true;
    try {
      return this.receiver.receive(frame, length, canWait);
    } finally {
      this.leave();
    }
  }

  hasUnread(): boolean {
    const { values } = this.regs;
    return (values[R.ChipCmd]! & CMD_RX_ENABLE) !== 0 && !this.receiver.ringEmpty();
  }

  remind(): void {
    const { values } = this.regs;
    if (this.hasUnread() && (values[R.IntrMask]! & INT_RX_OK) !== 0 && (values[R.IntrStatus]! & values[R.IntrMask]!) === 0)
      this.interrupt(INT_RX_OK);
  }

  setLink(up: boolean): void {
    const { values } = this.regs;
    if (up !== this.state.linkUp) values[R.CSCR]! |= LINK_CHANGE;
    this.state.linkUp = up;
    if (up) values[R.BasicModeStatus]! |= BMSR_LINK;
    else values[R.BasicModeStatus]! &= ~BMSR_LINK;
    this.interrupt(INT_LINK_CHANGE);
  }

  statistics(): Record<string, number> {
    const { state } = this;
    const { tally } = state;
    return {
      tx_packets: state.txPackets,
      tx_bytes: state.txBytes,
      rx_packets: state.rxPackets,
      rx_bytes: state.rxBytes,
      tx_large_sends: state.txLargeSends,
      tx_segments: state.txSegments,
      rx_filtered: state.rxFiltered,
      rx_no_room: state.rxNoRoom,
      rx_missed: this.regs.values[R.RxMissed]!,
      // The tally counters, as 8139cp's `ethtool -S` names them.
      tx_ok: tally[Tally.TxOk]!,
      rx_ok: tally[Tally.RxOk]!,
      tx_err: tally[Tally.TxErr]!,
      rx_err: tally[Tally.RxErr]!,
      rx_fifo: tally[Tally.MissPkt]!,
      frame_align: tally[Tally.FAE]!,
      tx_ok_1col: tally[Tally.Tx1Col]!,
      tx_ok_mcol: tally[Tally.TxMCol]!,
      rx_ok_phys: tally[Tally.RxOkPhy]!,
      rx_ok_bcast: tally[Tally.RxOkBrd]!,
      rx_ok_mcast: tally[Tally.RxOkMul]!,
      tx_abort: tally[Tally.TxAbt]!,
      tx_underrun: tally[Tally.TxUndrn]!,
    };
  }

  override save(): Rtl8139Saved {
    const { cplusBuffer, tally, ...plain } = this.state;
    return {
      device: this.name,
      version: STATE_VERSION,
      pci: this.savePci(),
      registers: this.regs.values.slice(),
      eeprom: structuredClone(this.eeprom.state),
      ...plain,
      tally: tally.slice(),
      cplusBuffer: cplusBuffer.slice(0, this.state.cplusLength),
    };
  }

  registers(): readonly RegisterReading[] {
    return this.regs.readings(this.state.cplusEnabled ? 'C+' : undefined);
  }

  override restore(saved: DeviceState): void {
    const state = checkState(saved, this.save());
    const { pci, registers, eeprom, tally, cplusBuffer, device: _device, version: _version, ...plain } = state;
    copyState(this.regs.values, registers, this.name);
    Object.assign(this.eeprom.state, structuredClone(eeprom));
    Object.assign(this.state, plain);
    copyState(this.state.tally, tally, this.name);
    copyState(this.state.cplusBuffer, cplusBuffer, this.name);
    this.restorePci(pci);
    this.armTimer();
  }

  /** The chip's own reset: power-on, ChipCmd, EEPROM autoload, PCI reset. */
  protected override resetChip(): void {
    const { regs, state } = this;
    const { values } = regs;
    regs.reset();
    for (let i = 0; i < 6; i++) values[R.MAC0 + i] = this.mac[i]!;
    this.updateInterrupt();
    state.txBuffer = 0;
    state.cplusTxDesc = 0;
    state.cplusRxDesc = 0;
    state.cplusEnabled = false;
    // No byte of a frame begun before the reset may leave after it.
    state.cplusLength = 0;
    state.clockRuns = true;
    this.resetRing(DEFAULT_RING_SIZE);
    this.resetPhy();
    state.timerBaseNs = 0;
    state.tally.fill(0);
    this.armTimer();
  }

  private leave(): void {
    this.busy = false;
    if (this.offerAgain) {
      this.offerAgain = false;
      this.wire.receiverReady();
    }
  }

  private resetRing(size: number): void {
    this.state.rxBufferSize = size;
    this.state.rxBufPtr = 0;
    this.state.rxBufAddr = 0;
  }

  private resetPhy(): void {
    const { values, table } = this.regs;
    for (const register of [R.BasicModeStatus, R.NWayAdvert, R.NWayLPAR, R.NWayExpansion])
      values[register] = table[register]!.reset!;
    if (!this.state.linkUp) values[R.BasicModeStatus]! &= ~BMSR_LINK;
  }

  private interrupt(bits: number): void {
    this.regs.values[R.IntrStatus]! |= bits;
    this.updateInterrupt();
  }

  private updateInterrupt(): void {
    const { values } = this.regs;
    const wanted = (values[R.IntrStatus]! & values[R.IntrMask]!) !== 0;
    const { log } = this.slot;
    if (log) log(lines.setIrq, { level: wanted ? 1 : 0, status: values[R.IntrStatus]!, mask: values[R.IntrMask]! });
    this.setIrq(wanted);
  }

  /** A frame leaves the transmitter. */
  private transfer(frame: Uint8Array, length: number, inserted: number): void {
    const { state, regs } = this;
    if ((regs.values[R.TxConfig]! & TX_LOOPBACK) === TX_LOOPBACK) {
      // Once, straight into the receiver: nothing that a received frame brings about transmits. As in QEMU the
      // length is that before the tag was inserted, so the last bytes stay behind.
      if (state.linkUp && this.receiver.canReceive()) this.receiver.receive(frame, length - inserted, false);
      return;
    }
    if (!state.linkUp) return;
    state.txPackets++;
    state.txBytes += length;
    this.wire.send(frame, length);
  }

  /** Timer fires when Timer next equals TimerInt; the base follows the clock in whole turns of the counter. */
  private armTimer(): void {
    const { state } = this;
    const now = this.slot.clock.nowNs();
    const turns = Math.floor((now - state.timerBaseNs) / TIMER_WRAP_NS);
    if (turns > 0) state.timerBaseNs += turns * TIMER_WRAP_NS;
    const compare = this.regs.values[R.TimerInt]!;
    if (compare === 0) {
      this.timer.cancel();
      return;
    }
    const at = state.timerBaseNs + compare * TIMER_PERIOD_NS;
    this.timer.arm(at > now ? at : at + TIMER_WRAP_NS);
  }

  private timeout(): void {
    if (!this.state.clockRuns) return;
    this.interrupt(INT_TIMEOUT);
    this.armTimer();
  }

  private dumpTally(): void {
    const { values } = this.regs;
    const out = new DataView(this.tallyDump.buffer);
    let at = 0;
    tallyLayout.forEach(([, width], i) => {
      const count = this.state.tally[i]!;
      if (width === 2) out.setUint16(at, count, true);
      else out.setUint32(at, count, true);
      if (width === 8) out.setUint32(at + 4, Math.floor(count / 0x1_0000_0000), true);
      at += width;
    });
    this.dmaWrite(addr64((values[R.TxStatus0]! & ~(TALLY_SIZE - 1)) >>> 0, values[R.TxStatus1]!), this.tallyDump, 0, TALLY_SIZE);
  }

  private writeTxStatus(n: number, value: number): void {
    const {
      regs: { values },
      state,
    } = this;
    if (state.cplusEnabled) {
      values[R.TxStatus0 + n] = value;
      if (n === 0 && value & DUMP_STATS) {
        this.dumpTally();
        values[R.TxStatus0]! &= ~DUMP_STATS;
      }
      return;
    }
    const mask = this.regs.table[R.TxStatus0]!.writable!;
    values[R.TxStatus0 + n] = (value & mask) | (values[R.TxStatus0 + n]! & TX_STATUS_KEPT);
    this.transmitter.transmitC();
  }

  private writeChipCmd(value: number): void {
    const {
      regs: { values },
      state,
    } = this;
    if (value & CMD_RESET) this.resetChip();
    if (value & CMD_RX_ENABLE) state.cplusRxDesc = 0;
    if (value & CMD_TX_ENABLE) state.cplusTxDesc = 0;
    this.regs.store(R.ChipCmd, value & ~CMD_RESET);
    values[R.ChipCmd]! &= ~CMD_RESET;
  }

  private writeCfg9346(value: number): void {
    const { regs } = this;
    if ((value & MODE_MASK) === MODE_AUTOLOAD) {
      this.resetChip();
      regs.store(R.Cfg9346, 0);
      return;
    }
    regs.store(R.Cfg9346, value);
    if ((value & MODE_MASK) === MODE_PROGRAM)
      this.eeprom.setWires((value & EECS) !== 0, (value & EESK) !== 0, (value & EEDI) !== 0);
  }

  private txSummary(): number {
    const { values } = this.regs;
    let summary = 0;
    for (let n = 0; n < 4; n++) {
      const status = values[R.TxStatus0 + n]!;
      if (status & TX_OWN) summary |= 0x0001 << n;
      if (status & TX_ABORTED) summary |= 0x0010 << n;
      if (status & TX_UNDERRUN) summary |= 0x0100 << n;
      if (status & TX_OK) summary |= 0x1000 << n;
    }
    return summary;
  }

  /** What each register does beyond storage. */
  private hooks(): Partial<Record<Rtl8139Register, RegisterHook>> {
    const values = () => this.regs.values;
    const hooks: Partial<Record<Rtl8139Register, RegisterHook>> = {
      ChipCmd: {
        read: () => values()[R.ChipCmd]! | (this.receiver.ringEmpty() ? CMD_RX_EMPTY : 0),
        write: (value) => this.writeChipCmd(value),
      },
      RxBufPtr: {
        read: () => (this.state.rxBufPtr - 16) & 0xffff,
        write: (value) => {
          this.state.rxBufPtr = (value + 16) & (this.state.rxBufferSize - 1);
          this.offerAgain = true;
        },
      },
      RxBufAddr: { read: () => this.state.rxBufAddr & 0xffff },
      IntrMask: {
        write: (value) => {
          this.regs.store(R.IntrMask, value);
          this.updateInterrupt();
        },
      },
      IntrStatus: {
        write: (value) => {
          const after = values()[R.IntrStatus]! & ~(value & this.regs.table[R.IntrStatus]!.writable!);
          // The pin goes low in between, so that an edge tells of what is still pending.
          values()[R.IntrStatus] = 0;
          this.updateInterrupt();
          values()[R.IntrStatus] = after;
          this.armTimer();
          this.updateInterrupt();
        },
      },
      TxConfig: {
        write: (value) => {
          if (values()[R.ChipCmd]! & CMD_TX_ENABLE) this.regs.store(R.TxConfig, value);
        },
      },
      RxConfig: {
        write: (value) => {
          this.regs.store(R.RxConfig, value);
          this.resetRing(DEFAULT_RING_SIZE << ((values()[R.RxConfig]! & RX_BUF_LEN) >>> 11));
        },
      },
      Timer: {
        read: () => Math.floor((this.slot.clock.nowNs() - this.state.timerBaseNs) / TIMER_PERIOD_NS) % TIMER_WRAP,
        write: () => {
          this.state.timerBaseNs = this.slot.clock.nowNs();
          this.armTimer();
        },
      },
      TimerInt: {
        write: (value) => {
          if (value === values()[R.TimerInt]) return;
          this.regs.store(R.TimerInt, value);
          this.armTimer();
        },
      },
      RxMissed: { write: () => void (values()[R.RxMissed] = 0) },
      Cfg9346: {
        read: () => {
          const value = values()[R.Cfg9346]!;
          return (value & MODE_MASK) === MODE_PROGRAM ? (value & ~EEDO) | (this.eeprom.dataOut ? EEDO : 0) : value;
        },
        write: (value) => this.writeCfg9346(value),
      },
      MediaStatus: { read: () => MEDIA_STATUS | (~values()[R.BasicModeStatus]! & BMSR_LINK) },
      HltClk: {
        read: () => (this.state.clockRuns ? 1 : 0),
        write: (value) => {
          if (value === 0x52) this.state.clockRuns = true;
          else if (value === 0x48) this.state.clockRuns = false;
        },
      },
      CSCR: {
        read: () => {
          const value = values()[R.CSCR]!;
          values()[R.CSCR] = value & ~LINK_CHANGE;
          return value;
        },
        peek: () => values()[R.CSCR]!,
      },
      PCIRevisionID: { read: () => this.config.bytes[8]! },
      TxSummary: { read: () => this.txSummary() },
      BasicModeCtrl: {
        write: (value) => {
          if (value & BMCR_RESET) this.resetPhy();
          this.regs.store(R.BasicModeCtrl, value);
        },
      },
      TxPoll: {
        read: () => 0,
        write: (value) => {
          const { log } = this.slot;
          if (log && value & POLL_HIGH) log(lines.pollHigh, {});
          if (value & POLL_NORMAL) {
            if (log) log(lines.pollNormal, {});
            this.transmitter.transmitCplus();
          }
        },
      },
      CpCmd: {
        write: (value) => {
          this.state.cplusEnabled = true;
          this.regs.store(R.CpCmd, value);
        },
      },
    };
    for (let n = 0; n < 4; n++) hooks[`TxStatus${n as 0 | 1 | 2 | 3}`] = { write: (value) => this.writeTxStatus(n, value) };
    for (const register of rtl8139Registers) {
      if (register.access === 'none') hooks[register.name] = { read: () => 0, write: () => {} };
    }
    return hooks;
  }
}
