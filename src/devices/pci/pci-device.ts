/**
 * A PCI function: configuration space, BARs, INTx and bus mastering, for chips to build on and for a bus to
 * hold. Everything here is the same for every chip.
 */
import type { DebugLog, DeviceClock, DmaBus, IrqLine } from '../interfaces.ts';
import { copyState, type DeviceState } from '../state.ts';
import {
  PCI_COMMAND_INTX_DISABLE,
  PCI_COMMAND_MASTER,
  PCI_STATUS,
  PCI_STATUS_INTERRUPT,
  PciConfigSpace,
  type BarDef,
  type PciIdentity,
} from './config-space.ts';

/** The slot a function sits in: what the bus gives it. */
export interface PciSlot {
  readonly dma: DmaBus;
  /** The function's own interrupt pin; the bus routes it (device number, pin) and ORs the sharers. */
  readonly setIrq: IrqLine;
  readonly clock: DeviceClock;
  /** Debug lines wanted; leave out to pay nothing. */
  readonly log?: DebugLog | undefined;
}

export type { DeviceState };

/** State of the half that all PCI functions share. */
export interface PciState {
  /** Configuration space. */
  readonly config: Uint8Array;
  /** The chip asks for an interrupt. */
  readonly irqWanted: boolean;
}

export abstract class PciDevice {
  /** The name users write: `rtl8139`. */
  abstract readonly name: string;
  readonly config: PciConfigSpace;
  protected readonly slot: PciSlot;
  /** The chip asks for an interrupt. */
  private irqWanted = false;
  /** The pin, after INTxDisable. */
  private irqLevel = false;

  constructor(slot: PciSlot, identity: PciIdentity, bars: readonly BarDef[]) {
    this.slot = slot;
    this.config = new PciConfigSpace(identity, bars);
  }

  /**
   * A register read through a BAR.
   * @param bar BAR index
   * @param offset bytes from the BAR's base, inside it
   * @param size 1, 2 or 4 bytes, any alignment; a bus splits wider accesses
   * @returns the data, zero-extended
   */
  abstract readBar(bar: number, offset: number, size: number): number;
  /** A register write through a BAR; parameters as for readBar, `value` unsigned. */
  abstract writeBar(bar: number, offset: number, size: number, value: number): void;

  /** Chip-specific half of a bus reset. */
  protected abstract resetChip(): void;

  /** Bus reset or power cycle: registers, configuration header and the interrupt pin. */
  reset(): void {
    this.config.reset();
    this.updateIrq();
    this.resetChip();
  }

  /** Everything a guest could notice, to continue from in another process. */
  abstract save(): DeviceState;
  /** Takes the state of a device of the same kind; throws UserError if it is none of ours. */
  abstract restore(state: DeviceState): void;

  /** Software reads configuration space. */
  readConfig(offset: number, size: number): number {
    return this.config.read(offset, size);
  }

  /** Software writes configuration space. */
  writeConfig(offset: number, size: number, value: number): void {
    this.config.write(offset, size, value);
    this.updateIrq();
  }

  /** May this function do DMA now? */
  protected get busMaster(): boolean {
    return (this.config.bytes[4]! & PCI_COMMAND_MASTER) !== 0;
  }

  /** DMA read. With bus mastering off nothing is fetched: the buffer gets zeros. */
  protected dmaRead(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    if (this.busMaster) return this.slot.dma.read(gpa, buffer, offset, length);
    buffer.fill(0, offset, offset + length);
    return false;
  }

  /** DMA write. With bus mastering off nothing is written. */
  protected dmaWrite(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean {
    return this.busMaster && this.slot.dma.write(gpa, buffer, offset, length);
  }

  /** The chip raises or drops its interrupt request. */
  protected setIrq(wanted: boolean): void {
    if (wanted === this.irqWanted) return;
    this.irqWanted = wanted;
    this.updateIrq();
  }

  private updateIrq(): void {
    const { bytes } = this.config;
    if (this.irqWanted) bytes[PCI_STATUS]! |= PCI_STATUS_INTERRUPT;
    else bytes[PCI_STATUS]! &= ~PCI_STATUS_INTERRUPT;
    const level = this.irqWanted && !(this.config.command & PCI_COMMAND_INTX_DISABLE);
    if (level === this.irqLevel) return;
    this.irqLevel = level;
    this.slot.setIrq(level);
  }

  /** State of this half, for save(). */
  protected savePci(): PciState {
    return { config: this.config.bytes.slice(), irqWanted: this.irqWanted };
  }

  /** Takes savePci()'s answer; drives the pin to the saved level and has the bus decode anew. */
  protected restorePci(state: PciState): void {
    copyState(this.config.bytes, state.config, this.name);
    this.irqWanted = state.irqWanted;
    this.updateIrq();
    this.config.decodeChanges.call();
  }
}
