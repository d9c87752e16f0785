/** What the parts of the chip (transmit, receive, interrupt) need of the whole. */
import type { DebugLog } from '../../interfaces.ts';
import type { RegisterBlock } from './register-block.ts';
import { fieldMask, R, type E1000Register } from './registers.ts';
import type { E1000State } from './state.ts';

export interface ChipPort {
  readonly regs: RegisterBlock<E1000Register>;
  readonly state: E1000State;
  /** Debug lines wanted; see DebugLog. */
  readonly log: DebugLog | undefined;
  dmaRead(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  dmaWrite(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  /** A frame leaves: bytes `offset` … `offset + length - 1`, onto the wire or, in loopback, back into the receiver. */
  transfer(frame: Uint8Array, length: number): void;
  /** Makes interrupts pending. */
  interrupt(causes: number): void;
}

/** 64-bit address from two registers or descriptor words; exact up to 2^53, and nothing past 2^52 is RAM. */
export const addr64 = (low: number, high: number): number => high * 0x1_0000_0000 + low;

/** Base of a descriptor ring, from its two registers. */
export const ringBase = (values: Uint32Array, low: number, high: number): number =>
  addr64((values[low]! & ~0xf) >>> 0, values[high]!);

/** Little-endian 32-bit word at `at`. */
export const le32 = (data: Uint8Array, at: number): number =>
  (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;

export const putLe32 = (data: Uint8Array, at: number, value: number): void => {
  data[at] = value;
  data[at + 1] = value >>> 8;
  data[at + 2] = value >>> 16;
  data[at + 3] = value >>> 24;
};

/** Counts one more, up to the end of the register. */
export function count(values: Uint32Array, register: number): void {
  if (values[register] !== 0xffffffff) values[register]!++;
}

/** Adds to a counter of 64 bits in two registers, up to its end. */
export function addBytes(values: Uint32Array, low: number, bytes: number): void {
  const sum = values[low]! + bytes;
  if (sum <= 0xffffffff) values[low] = sum;
  else if (values[low + 1] === 0xffffffff) values[low] = 0xffffffff;
  else {
    values[low] = sum - 0x1_0000_0000;
    values[low + 1]!++;
  }
}

/** Counts a frame by its size: `first` and the five registers behind it, for 64 bytes, up to 127, 255, 511, 1,023 and more. */
export function countSize(values: Uint32Array, first: number, size: number): void {
  if (size < 64) return;
  count(values, first + (size > 1023 ? 5 : size > 511 ? 4 : size > 255 ? 3 : size > 127 ? 2 : size > 64 ? 1 : 0));
}

/** Bit fields that code tests. */
export const CTRL_RST = fieldMask('CTRL', 'RST');
export const CTRL_VME = fieldMask('CTRL', 'VME');
export const STATUS_LU = fieldMask('STATUS', 'LU');
export const TCTL_EN = fieldMask('TCTL', 'EN');
export const RCTL_EN = fieldMask('RCTL', 'EN');
export const RCTL_SBP = fieldMask('RCTL', 'SBP');
export const RCTL_UPE = fieldMask('RCTL', 'UPE');
export const RCTL_MPE = fieldMask('RCTL', 'MPE');
export const RCTL_LPE = fieldMask('RCTL', 'LPE');
export const RCTL_BAM = fieldMask('RCTL', 'BAM');
export const RCTL_VFE = fieldMask('RCTL', 'VFE');
export const RCTL_BSEX = fieldMask('RCTL', 'BSEX');
export const RCTL_SECRC = fieldMask('RCTL', 'SECRC');
export const RAH_AV = fieldMask('RAH', 'AV');
export const INT_TXDW = fieldMask('ICR', 'TXDW');
export const INT_TXQE = fieldMask('ICR', 'TXQE');
export const INT_LSC = fieldMask('ICR', 'LSC');
export const INT_RXDMT0 = fieldMask('ICR', 'RXDMT0');
export const INT_RXO = fieldMask('ICR', 'RXO');
export const INT_RXT0 = fieldMask('ICR', 'RXT0');
export const INT_MDAC = fieldMask('ICR', 'MDAC');
export { R };
