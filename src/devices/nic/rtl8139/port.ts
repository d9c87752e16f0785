/** What the halves of the chip (transmit, receive) need of the whole. */
import type { RegisterFile } from '../../register-file.ts';
import type { DebugLog } from '../../interfaces.ts';
import { rtl8139Registers, type Rtl8139Register } from './registers.ts';
import type { Rtl8139State } from './state.ts';

export interface ChipPort {
  readonly regs: RegisterFile<Rtl8139Register>;
  readonly state: Rtl8139State;
  /** Debug lines wanted; see DebugLog. */
  readonly log: DebugLog | undefined;
  dmaRead(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  dmaWrite(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  /** A frame leaves: onto the wire, or back into the receiver in loopback. `inserted` bytes of it are a VLAN tag the chip put in. */
  transfer(frame: Uint8Array, length: number, inserted: number): void;
  /** Sets interrupt status bits and drives the pin. */
  interrupt(bits: number): void;
}

/** Register indices by name: `regs.values[R.IntrStatus]`. */
export const R = Object.fromEntries(rtl8139Registers.map((r, i) => [r.name, i])) as Readonly<Record<Rtl8139Register, number>>;

/** 64-bit address from two registers or descriptor words; exact up to 2^53, and nothing past 2^52 is RAM. */
export const addr64 = (low: number, high: number): number => high * 0x1_0000_0000 + low;

/** `n` in lower-case hexadecimal, at least `digits` wide. */
export const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, '0');

/** Little-endian 32-bit word at `at`. */
export const le32 = (data: Uint8Array, at: number): number =>
  (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;

export const putLe32 = (data: Uint8Array, at: number, value: number): void => {
  data[at] = value;
  data[at + 1] = value >>> 8;
  data[at + 2] = value >>> 16;
  data[at + 3] = value >>> 24;
};

/** Bits by name, as far as code tests them. */
export const CMD_RESET = 0x10;
export const CMD_RX_ENABLE = 0x08;
export const CMD_TX_ENABLE = 0x04;
export const CMD_RX_EMPTY = 0x01;
export const INT_RX_OK = 0x0001;
export const INT_TX_OK = 0x0004;
export const INT_RX_OVERFLOW = 0x0010;
export const INT_LINK_CHANGE = 0x0020;
export const INT_TIMEOUT = 0x4000;
export const TX_OWN = 0x2000;
export const TX_UNDERRUN = 0x4000;
export const TX_OK = 0x8000;
export const TX_ABORTED = 0x40000000;
export const TX_LOOPBACK = 0x60000;
export const RX_ALL_PHYS = 0x01;
export const RX_MY_PHYS = 0x02;
export const RX_MULTICAST = 0x04;
export const RX_BROADCAST = 0x08;
export const RX_NO_WRAP = 0x80;
export const CP_TX_ENABLE = 0x0001;
export const CP_RX_ENABLE = 0x0002;
export const CP_RX_VLAN = 0x0040;
export const BMSR_LINK = 0x0004;
