/**
 * What an e1000 remembers beside its registers, PHY and EEPROM, all of it saved and restored. Numbers are unsigned integers; times are
 * nanoseconds of the machine's clock.
 */
import type { DeviceState, PciState } from '../../pci/pci-device.ts';
import type { EepromState } from './eeprom.ts';

/** Bytes of the buffer in which the descriptors of a frame add up. */
export const TX_BUFFER_SIZE = 0x10000;
/** Most headers a large send can have: HDRLEN has 8 bits. */
const TX_HEADER_SIZE = 256;

/** What a context descriptor said. */
export interface TxContext {
  ipcss: number;
  ipcso: number;
  ipcse: number;
  tucss: number;
  tucso: number;
  tucse: number;
  paylen: number;
  hdrLen: number;
  mss: number;
  ip: boolean;
  tcp: boolean;
}

const noContext = (): TxContext => ({
  ipcss: 0,
  ipcso: 0,
  ipcse: 0,
  tucss: 0,
  tucso: 0,
  tucse: 0,
  paylen: 0,
  hdrLen: 0,
  mss: 0,
  ip: false,
  tcp: false,
});

/** The frame that the transmitter gathers. */
class TxState {
  /** Bytes gathered; 65,536 of them are 0 again. */
  size = 0;
  /** POPTS of its first descriptor. */
  options = 0;
  /** Its latest descriptor has TSE. */
  largeSend = false;
  /** Segments of the large send that have left. */
  segments = 0;
  /** VLAN tag to put in, type and TCI, or -1. */
  tag = -1;
  /** Checksums of a single frame, and those of a large send. */
  context = noContext();
  largeSendContext = noContext();
  readonly buffer = new Uint8Array(TX_BUFFER_SIZE);
  readonly header = new Uint8Array(TX_HEADER_SIZE);

  reset(): void {
    this.size = 0;
    this.options = 0;
    this.largeSend = false;
    this.segments = 0;
    this.tag = -1;
    this.context = noContext();
    this.largeSendContext = noContext();
    this.header.fill(0);
  }
}

export class E1000State {
  readonly tx = new TxState();
  linkUp = true;
  /** A frame waits on the wire because the receiver refused it. */
  frameWaits = false;
  /** Deadlines; Infinity: the timer does not run. */
  autonegNs = Number.POSITIVE_INFINITY;
  holdNs = Number.POSITIVE_INFINITY;
  mitigationNs = Number.POSITIVE_INFINITY;
  /** The chip's interrupt pin, and whether a descriptor with IDE was taken since the last interrupt. */
  irqLevel = false;
  delayTx = false;
  /** IOADDR. */
  ioAddress = 0;
  /** Frames and bytes on the wire since power-on, whatever the driver resets. */
  txPackets = 0;
  txBytes = 0;
  rxPackets = 0;
  rxBytes = 0;
  rxFiltered = 0;
  rxNoRoom = 0;
  /** Large sends (TCP or UDP segmentation), and the frames they became. */
  txLargeSends = 0;
  txSegments = 0;
}

type TxFields = Omit<TxState, 'buffer' | 'header' | 'reset'>;

/** What save() gives and restore() takes. */
export interface E1000Saved extends DeviceState, Omit<E1000State, 'tx'> {
  readonly device: string;
  readonly version: number;
  readonly pci: PciState;
  /** Register values by offset in units of 4 bytes. */
  readonly registers: Uint32Array;
  /** PHY registers by MII register number. */
  readonly phy: Uint16Array;
  readonly eeprom: EepromState;
  readonly tx: TxFields & { readonly buffer: Uint8Array; readonly header: Uint8Array };
}
