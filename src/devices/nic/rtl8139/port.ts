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

/** Little-endian 32-bit word at `at`. */
export const le32 = (data: Uint8Array, at: number): number =>
  (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;

export const putLe32 = (data: Uint8Array, at: number, value: number): void => {
  data[at] = value;
  data[at + 1] = value >>> 8;
  data[at + 2] = value >>> 16;
  data[at + 3] = value >>> 24;
};

/** Mask of a bit field, from the register table. */
function fieldMask(register: Rtl8139Register, name: string, mode?: string): number {
  const def = rtl8139Registers[R[register]]!;
  const field = (mode === undefined ? def.fields : def.otherwise?.fields)?.find((f) => f.name === name);
  if (!field) throw new Error(`rtl8139: register ${register} has no field ${name}`);
  return ((2 ** (field.bits ?? 1) - 1) * 2 ** field.lsb) >>> 0;
}

/** Bit fields that code tests. */
export const CMD_RESET = fieldMask('ChipCmd', 'CmdReset');
export const CMD_RX_ENABLE = fieldMask('ChipCmd', 'CmdRxEnb');
export const CMD_TX_ENABLE = fieldMask('ChipCmd', 'CmdTxEnb');
export const CMD_RX_EMPTY = fieldMask('ChipCmd', 'RxBufEmpty');
export const INT_RX_OK = fieldMask('IntrStatus', 'RxOK');
export const INT_TX_OK = fieldMask('IntrStatus', 'TxOK');
export const INT_RX_OVERFLOW = fieldMask('IntrStatus', 'RxOverflow');
/** RxUnderrun tells of a link change, too. */
export const INT_LINK_CHANGE = fieldMask('IntrStatus', 'RxUnderrun');
export const INT_TIMEOUT = fieldMask('IntrStatus', 'PCSTimeout');
export const TX_OWN = fieldMask('TxStatus0', 'OWN');
export const TX_UNDERRUN = fieldMask('TxStatus0', 'TUN');
export const TX_OK = fieldMask('TxStatus0', 'TOK');
export const TX_ABORTED = fieldMask('TxStatus0', 'TABT');
export const DUMP_STATS = fieldMask('TxStatus0', 'DumpStats', 'C+');
export const TX_LOOPBACK = fieldMask('TxConfig', 'LBK');
export const RX_ALL_PHYS = fieldMask('RxConfig', 'AcceptAllPhys');
export const RX_MY_PHYS = fieldMask('RxConfig', 'AcceptMyPhys');
export const RX_MULTICAST = fieldMask('RxConfig', 'AcceptMulticast');
export const RX_BROADCAST = fieldMask('RxConfig', 'AcceptBroadcast');
export const RX_NO_WRAP = fieldMask('RxConfig', 'NoWrap');
/** Ring size: 8 KiB << the field's value. */
export const RX_BUF_LEN = fieldMask('RxConfig', 'RxBufLen');
export const CP_TX_ENABLE = fieldMask('CpCmd', 'CPlusTxEnb');
export const CP_RX_ENABLE = fieldMask('CpCmd', 'CPlusRxEnb');
export const CP_RX_VLAN = fieldMask('CpCmd', 'RxVlanOn');
export const POLL_NORMAL = fieldMask('TxPoll', 'NPQ');
export const POLL_HIGH = fieldMask('TxPoll', 'HPQ');
export const BMCR_RESET = fieldMask('BasicModeCtrl', 'Reset');
export const BMSR_LINK = fieldMask('BasicModeStatus', 'Link');
export const LINK_CHANGE = fieldMask('CSCR', 'LinkChange');
/** Cfg9346's operating mode, and what it can be. */
export const MODE_MASK = fieldMask('Cfg9346', 'EEM');
export const MODE_AUTOLOAD = 0x40;
export const MODE_PROGRAM = 0x80;
export const MODE_CONFIG_WRITE = 0xc0;
export const EEDO = fieldMask('Cfg9346', 'EEDO');
export const EEDI = fieldMask('Cfg9346', 'EEDI');
export const EESK = fieldMask('Cfg9346', 'EESK');
export const EECS = fieldMask('Cfg9346', 'EECS');
