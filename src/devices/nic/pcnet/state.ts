/** What an Am79C970A remembers beside its register file, all of it saved and restored. */
import type { DeviceState, PciState } from '../../pci/pci-device.ts';

/** Bytes of the frame buffer; the last four are kept for an FCS. */
export const BUFFER_SIZE = 4096;
export const FCS_SIZE = 4;

export class PcnetState {
  /** Number of the register behind RDP and BDP. */
  rap = 0;
  /** Guest-physical addresses of the rings; 0: none. */
  rdra = 0;
  tdra = 0;
  /** What the interrupt logic last said. */
  isr = false;
  linkUp = true;
  /** The frame that leaves, that loops, or that comes in. What is left of an earlier frame behind a short looped one is looped too. */
  readonly buffer = new Uint8Array(BUFFER_SIZE);
  /** Clock time from which the poll timer counts, in ns; 0: not yet. */
  pollBaseNs = 0;
  /** When the poll timer fires, in ns; -1: it does not run. */
  pollAtNs = -1;
  /** Frames and bytes on the wire since power-on, whatever the driver resets. */
  txPackets = 0;
  txBytes = 0;
  rxPackets = 0;
  rxBytes = 0;
  rxFiltered = 0;
  rxNoRoom = 0;
  /** Frames that did not leave: too long for the buffer, cut short, or without a link. */
  txErrors = 0;
}

/** What save() gives and restore() takes. */
export interface PcnetSaved extends DeviceState, PcnetState {
  readonly pci: PciState;
  /** Register values in the order of the register table. */
  readonly registers: Uint32Array;
}
