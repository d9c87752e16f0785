/**
 * What an RTL8139 remembers beside its register file and EEPROM, all of it saved and restored. Numbers are
 * unsigned integers; addresses are guest-physical.
 */
import type { DeviceState, PciState } from '../../pci/pci-device.ts';
import type { Eeprom93c46State } from '../eeprom-93c46.ts';

/** The tally counters, in the order and with the widths (bytes) in which a dump writes them. */
export const tallyLayout = [
  ['TxOk', 8],
  ['RxOk', 8],
  ['TxErr', 8],
  ['RxErr', 4],
  ['MissPkt', 2],
  ['FAE', 2],
  ['Tx1Col', 4],
  ['TxMCol', 4],
  ['RxOkPhy', 8],
  ['RxOkBrd', 8],
  ['RxOkMul', 4],
  ['TxAbt', 2],
  ['TxUndrn', 2],
] as const;

export type TallyName = (typeof tallyLayout)[number][0];
/** Bytes of a tally dump. */
export const TALLY_SIZE = 64;

/** Index of each counter in Rtl8139State.tally. */
export const Tally = Object.fromEntries(tallyLayout.map(([name], i) => [name, i])) as Record<TallyName, number>;

/** Most bytes a C+ frame can have: descriptors add up in a buffer of this size and are clipped to it. */
export const CPLUS_BUFFER_SIZE = 65536;
/** Receive ring of C mode after a reset. */
export const DEFAULT_RING_SIZE = 8192;

export class Rtl8139State {
  /** C mode receive ring: bytes, the driver's read pointer and the chip's write pointer within it. */
  rxBufferSize = DEFAULT_RING_SIZE;
  rxBufPtr = 0;
  rxBufAddr = 0;
  /** Next transmit buffer of C mode, 0 … 3. */
  txBuffer = 0;
  /** Next descriptor of the C+ rings. */
  cplusTxDesc = 0;
  cplusRxDesc = 0;
  /** CpCmd was written since the last reset. */
  cplusEnabled = false;
  /** HltClk: 'R' was the last word. */
  clockRuns = true;
  linkUp = true;
  /** Clock time at which Timer was zero, in ns. */
  timerBaseNs = 0;
  /** Bytes of a C+ frame gathered so far. */
  cplusLength = 0;
  readonly cplusBuffer = new Uint8Array(CPLUS_BUFFER_SIZE);
  readonly tally = new Float64Array(tallyLayout.length);
  /** Frames and bytes on the wire since power-on, whatever the driver resets. */
  txPackets = 0;
  txBytes = 0;
  rxPackets = 0;
  rxBytes = 0;
  rxFiltered = 0;
  rxNoRoom = 0;
  /** Large sends (TCP segmentation), and the frames they became. */
  txLargeSends = 0;
  txSegments = 0;
}

/** What save() gives and restore() takes. */
export interface Rtl8139Saved extends DeviceState, Rtl8139State {
  readonly pci: PciState;
  /** Register values in the order of the register table. */
  readonly registers: Uint32Array;
  readonly eeprom: Eeprom93c46State;
}
