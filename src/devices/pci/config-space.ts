/**
 * The 256-byte configuration space of a PCI function (PCI Local Bus 3.0, chapter 6; type 0 header), as two
 * masks over plain bytes: which bits a write changes, which bits a write of one clears.
 */
import { Listeners } from '../../base/listeners.ts';
import type { RegisterDef } from '../registers.ts';

/** Registers of the type 0 header, for logs, explanations and documentation. */
export const pciHeader = [
  { name: 'VendorID', offset: 0x00, width: 2, access: 'ro', doc: 'Vendor' },
  { name: 'DeviceID', offset: 0x02, width: 2, access: 'ro', doc: 'Device' },
  {
    name: 'Command',
    offset: 0x04,
    width: 2,
    access: 'rw',
    reset: 0,
    doc: 'What the function may do',
    fields: [
      { name: 'IO', lsb: 0, doc: 'Decode I/O BARs' },
      { name: 'Memory', lsb: 1, doc: 'Decode memory BARs' },
      { name: 'BusMaster', lsb: 2, doc: 'May do DMA' },
      { name: 'SpecialCycles', lsb: 3 },
      { name: 'MemWINV', lsb: 4 },
      { name: 'VGASnoop', lsb: 5 },
      { name: 'Parity', lsb: 6 },
      { name: 'SERR', lsb: 8 },
      { name: 'FastB2B', lsb: 9 },
      { name: 'INTxDisable', lsb: 10, doc: 'Keep INTx deasserted' },
    ],
  },
  {
    name: 'Status',
    offset: 0x06,
    width: 2,
    access: 'w1c',
    reset: 0,
    doc: 'What happened',
    fields: [
      { name: 'INTx', lsb: 3, doc: 'Interrupt pending inside the function' },
      { name: 'CapList', lsb: 4 },
      { name: '66MHz', lsb: 5 },
      { name: 'FastB2B', lsb: 7 },
      { name: 'MasterDataParity', lsb: 8 },
      { name: 'DEVSEL', lsb: 9, bits: 2 },
      { name: 'SigTargetAbort', lsb: 11 },
      { name: 'RecTargetAbort', lsb: 12 },
      { name: 'RecMasterAbort', lsb: 13 },
      { name: 'SigSystemError', lsb: 14 },
      { name: 'DetectedParity', lsb: 15 },
    ],
  },
  { name: 'RevisionID', offset: 0x08, width: 1, access: 'ro', doc: 'Revision' },
  { name: 'ProgIF', offset: 0x09, width: 1, access: 'ro', doc: 'Programming interface' },
  { name: 'SubClass', offset: 0x0a, width: 1, access: 'ro', doc: 'Sub-class' },
  { name: 'BaseClass', offset: 0x0b, width: 1, access: 'ro', doc: 'Base class' },
  { name: 'CacheLineSize', offset: 0x0c, width: 1, access: 'rw', reset: 0, doc: 'In units of 4 bytes' },
  { name: 'LatencyTimer', offset: 0x0d, width: 1, access: 'ro', reset: 0, doc: 'Bus clocks' },
  { name: 'HeaderType', offset: 0x0e, width: 1, access: 'ro', doc: 'Type 0, bit 7 multifunction' },
  { name: 'BIST', offset: 0x0f, width: 1, access: 'ro', doc: 'No self-test' },
  { name: 'BAR0', offset: 0x10, width: 4, access: 'rw', reset: 0, doc: 'Base address 0' },
  { name: 'BAR1', offset: 0x14, width: 4, access: 'rw', reset: 0, doc: 'Base address 1' },
  { name: 'BAR2', offset: 0x18, width: 4, access: 'rw', reset: 0, doc: 'Base address 2' },
  { name: 'BAR3', offset: 0x1c, width: 4, access: 'rw', reset: 0, doc: 'Base address 3' },
  { name: 'BAR4', offset: 0x20, width: 4, access: 'rw', reset: 0, doc: 'Base address 4' },
  { name: 'BAR5', offset: 0x24, width: 4, access: 'rw', reset: 0, doc: 'Base address 5' },
  { name: 'CardBusCIS', offset: 0x28, width: 4, access: 'ro', doc: 'None' },
  { name: 'SubsystemVendorID', offset: 0x2c, width: 2, access: 'ro', doc: 'Subsystem vendor' },
  { name: 'SubsystemID', offset: 0x2e, width: 2, access: 'ro', doc: 'Subsystem' },
  { name: 'ExpansionROM', offset: 0x30, width: 4, access: 'ro', doc: 'Option ROM' },
  { name: 'CapabilityPointer', offset: 0x34, width: 1, access: 'ro', doc: 'First capability' },
  { name: 'InterruptLine', offset: 0x3c, width: 1, access: 'rw', reset: 0, doc: 'For software alone' },
  { name: 'InterruptPin', offset: 0x3d, width: 1, access: 'ro', doc: '1 = INTA#' },
  { name: 'MinGnt', offset: 0x3e, width: 1, access: 'ro', doc: 'Burst length wanted' },
  { name: 'MaxLat', offset: 0x3f, width: 1, access: 'ro', doc: 'Longest wait for the bus' },
] as const satisfies readonly RegisterDef[];

export const PCI_COMMAND = 0x04;
export const PCI_STATUS = 0x06;
const PCI_CACHE_LINE_SIZE = 0x0c;
export const PCI_BAR0 = 0x10;
export const PCI_INTERRUPT_LINE = 0x3c;
export const PCI_COMMAND_IO = 0x001;
export const PCI_COMMAND_MEMORY = 0x002;
export const PCI_COMMAND_MASTER = 0x004;
const PCI_COMMAND_SERR = 0x100;
export const PCI_COMMAND_INTX_DISABLE = 0x400;
export const PCI_STATUS_INTERRUPT = 0x08;

/** One base address register. Sizes are powers of two, at least 4 (I/O) or 16 (memory) bytes. */
export interface BarDef {
  /** 0 … 5: the register at 0x10 + 4 × index. */
  readonly index: number;
  readonly kind: 'io' | 'mem';
  readonly size: number;
  /** What QEMU calls the block in its logs; left out: the device's name. */
  readonly name?: string;
}

/** What is wired into a function. */
export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** 24 bits: base class, sub-class, programming interface. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** 1 = INTA#; 0 when the function interrupts nobody. */
  readonly interruptPin?: number;
  /** 0x80 in a function 0 with siblings. */
  readonly headerType?: number;
}

export class PciConfigSpace {
  readonly bytes = new Uint8Array(256);
  /** Bits that a write changes. */
  readonly writable = new Uint8Array(256);
  /** Bits that a write of one clears. */
  readonly w1c = new Uint8Array(256);
  readonly bars: readonly BarDef[];
  /** After a write or reset that changed Command or a BAR: the bus decodes anew. */
  readonly decodeChanges = new Listeners();

  constructor(identity: PciIdentity, bars: readonly BarDef[] = []) {
    this.bars = bars;
    this.set(0x00, 2, identity.vendorId);
    this.set(0x02, 2, identity.deviceId);
    this.set(0x08, 1, identity.revision);
    this.set(0x09, 1, identity.classCode & 0xff);
    this.set(0x0a, 2, identity.classCode >>> 8);
    this.set(0x0e, 1, identity.headerType ?? 0);
    this.set(0x2c, 2, identity.subsystemVendorId ?? 0);
    this.set(0x2e, 2, identity.subsystemId ?? 0);
    this.set(0x3d, 1, identity.interruptPin ?? 0);
    this.writable[PCI_CACHE_LINE_SIZE] = 0xff;
    this.writable[PCI_INTERRUPT_LINE] = 0xff;
    const command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE;
    this.writable[PCI_COMMAND] = command & 0xff;
    this.writable[PCI_COMMAND + 1] = command >>> 8;
    this.w1c[PCI_STATUS + 1] = 0xf9;
    // Device-specific space is plain storage unless a device says otherwise.
    this.writable.fill(0xff, 0x40);
    for (const bar of bars) {
      const at = PCI_BAR0 + bar.index * 4;
      const mask = ~(bar.size - 1) >>> 0;
      for (let i = 0; i < 4; i++) this.writable[at + i] = (mask >>> (i * 8)) & 0xff;
      this.bytes[at] = bar.kind === 'io' ? 1 : 0;
    }
  }

  /** Puts a value past the masks: construction, status bits. */
  set(offset: number, size: number, value: number): void {
    for (let i = 0; i < size; i++) this.bytes[offset + i] = (value >>> (i * 8)) & 0xff;
  }

  /** Software reads 1, 2 or 4 bytes; any alignment; bytes past 255 read as ones. */
  read(offset: number, size: number): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= (offset + i < 256 ? this.bytes[offset + i]! : 0xff) << (i * 8);
    return value >>> 0;
  }

  /** Software writes 1, 2 or 4 bytes; any alignment; bytes past 255 are lost. */
  write(offset: number, size: number, value: number): void {
    let decode = false;
    for (let i = 0; i < size && offset + i < 256; i++) {
      const at = offset + i;
      const byte = (value >>> (i * 8)) & 0xff;
      const old = this.bytes[at]!;
      const now = ((old & ~this.writable[at]!) | (byte & this.writable[at]!)) & ~(byte & this.w1c[at]!);
      this.bytes[at] = now;
      if (now !== old && (at === PCI_COMMAND || at === PCI_COMMAND + 1 || (at >= PCI_BAR0 && at < PCI_BAR0 + 24))) decode = true;
    }
    if (decode) this.decodeChanges.call();
  }

  get command(): number {
    return this.bytes[PCI_COMMAND]! | (this.bytes[PCI_COMMAND + 1]! << 8);
  }

  /**
   * Where a BAR decodes now, as an address in its space (a port number or a GPA); -1 when it does not: its
   * Command bit is off, or the base is zero or at the very top (a driver is sizing it).
   */
  barBase(bar: BarDef): number {
    if (!(this.command & (bar.kind === 'io' ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY))) return -1;
    const base = (this.read(PCI_BAR0 + bar.index * 4, 4) & ~(bar.size - 1)) >>> 0;
    const top = bar.kind === 'io' ? 0x10000 : 0xffffffff;
    return base === 0 || base + bar.size > top ? -1 : base;
  }

  /** Bus reset (RST#): what software wrote into the header is gone; device-specific space stays. */
  reset(): void {
    this.bytes[PCI_COMMAND] = 0;
    this.bytes[PCI_COMMAND + 1] = 0;
    this.bytes[PCI_STATUS]! &= ~PCI_STATUS_INTERRUPT;
    this.bytes[PCI_STATUS + 1]! &= ~0xf9;
    this.bytes[PCI_CACHE_LINE_SIZE] = 0;
    this.bytes[PCI_INTERRUPT_LINE] = 0;
    for (const bar of this.bars) this.set(PCI_BAR0 + bar.index * 4, 4, bar.kind === 'io' ? 1 : 0);
    this.decodeChanges.call();
  }
}
