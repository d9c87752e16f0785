/** What an RTL8029 remembers beside its register file, all of it saved and restored. */
import type { DeviceState, PciState } from '../../pci/pci-device.ts';

/** Pages of packet memory, 256 bytes each: QEMU's card has 32 KiB of it, from 0x4000. */
export const PMEM_START = 0x4000;
export const PMEM_END = 0xc000;
export const PMEM_SIZE = PMEM_END - PMEM_START;
/** The station address PROM: each byte twice. */
export const PROM_SIZE = 32;

export class Ne2kState {
  /** The chip's own memory: PROM at 0, packet memory from PMEM_START. What lies between is not reached by the data port. */
  readonly mem = new Uint8Array(PMEM_END);
  /** Remote DMA: address (it may run past 16 bits) and bytes left. */
  rsar = 0;
  rcnt = 0;
  /** Transmit and receive status. */
  tsr = 0;
  rsr = 0;
  linkUp = true;
  /** Frames and bytes on the wire since power-on. */
  txPackets = 0;
  txBytes = 0;
  rxPackets = 0;
  rxBytes = 0;
  rxFiltered = 0;
  rxNoRoom = 0;
}

/** What save() gives and restore() takes. */
export interface Ne2kSaved extends DeviceState, Ne2kState {
  readonly pci: PciState;
  /** Register values in the order of the register table. */
  readonly registers: Uint32Array;
}
