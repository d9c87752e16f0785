/** What the pieces of the chip need of the whole, and names for registers and bits, from the register table. */
import type { RegisterFile } from '../../register-file.ts';
import { pcnetRegisters, receiveStatusBits, transmitErrorBits, transmitStatusBits, type PcnetRegister } from './registers.ts';
import type { BitField } from '../../registers.ts';
import type { PcnetState } from './state.ts';

export interface ChipPort {
  readonly regs: RegisterFile<PcnetRegister>;
  readonly state: PcnetState;
  /** Descriptors read since the chip was last entered from outside. */
  descriptorReads: number;
  dmaRead(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  dmaWrite(gpa: number, buffer: Uint8Array, offset: number, length: number): boolean;
  /** Drives the pin as the registers say. */
  updateInterrupt(): void;
  /** Looks at both rings, and transmits. */
  poll(): void;
}

/** Register indices by name: `regs.values[R.CSR0]`. */
export const R = Object.fromEntries(pcnetRegisters.map((r, i) => [r.name, i])) as Readonly<Record<PcnetRegister, number>>;

/** A 32-bit value in two registers that stand side by side in the table, lower half first. */
export const getPair = (values: Uint32Array, low: number): number => (values[low]! | (values[low + 1]! << 16)) >>> 0;

export const putPair = (values: Uint32Array, low: number, value: number): void => {
  values[low] = value & 0xffff;
  values[low + 1] = value >>> 16;
};

const maskIn = (fields: readonly BitField[] | undefined, name: string): number => {
  const field = fields?.find((f) => f.name === name);
  if (!field) throw new Error(`pcnet: no field ${name}`);
  return ((2 ** (field.bits ?? 1) - 1) * 2 ** field.lsb) >>> 0;
};

/** Mask of a bit field, from the register table. */
const fieldMask = (register: PcnetRegister, name: string): number => maskIn(pcnetRegisters[R[register]]!.fields, name);

export const CSR0_INIT = fieldMask('CSR0', 'INIT');
export const CSR0_STRT = fieldMask('CSR0', 'STRT');
export const CSR0_STOP = fieldMask('CSR0', 'STOP');
export const CSR0_TDMD = fieldMask('CSR0', 'TDMD');
export const CSR0_TXON = fieldMask('CSR0', 'TXON');
export const CSR0_RXON = fieldMask('CSR0', 'RXON');
export const CSR0_IENA = fieldMask('CSR0', 'IENA');
export const CSR0_INTR = fieldMask('CSR0', 'INTR');
export const CSR0_IDON = fieldMask('CSR0', 'IDON');
export const CSR0_TINT = fieldMask('CSR0', 'TINT');
export const CSR0_RINT = fieldMask('CSR0', 'RINT');
export const CSR0_MISS = fieldMask('CSR0', 'MISS');
export const CSR0_CERR = fieldMask('CSR0', 'CERR');
export const CSR0_ERR = fieldMask('CSR0', 'ERR');
/** Bits of CSR0 that a one clears: BABL … IDON. */
export const CSR0_W1C = 0x7f00;
/** Bits of CSR0 that interrupt where CSR3 does not mask them: all but CERR. */
export const CSR0_CAUSES = 0x5f00;
/** BABL, CERR, MISS, MERR: any of them reads as ERR. */
export const CSR0_ERRORS = 0x7800;
export const CSR3_DXSUFLO = fieldMask('CSR3', 'DXSUFLO');
export const CSR4_TXSTRTM = fieldMask('CSR4', 'TXSTRTM');
export const CSR4_UINTCMD = fieldMask('CSR4', 'UINTCMD');
export const CSR4_UINT = fieldMask('CSR4', 'UINT');
export const CSR4_DPOLL = fieldMask('CSR4', 'DPOLL');
/** Bits of CSR4 and CSR5 that a one clears. */
export const CSR4_W1C = 0x026a;
export const CSR5_W1C = 0x0a90;
/** Masks in CSR4, each one bit below its cause; enables in CSR5, likewise. Those of sleep and system error ask nobody for IENA. */
export const CSR4_MASKS = 0x0115;
export const CSR5_ENABLES = 0x0048;
export const CSR5_OWN_ENABLES = 0x0500;
export const CSR5_SPND = fieldMask('CSR5', 'SPND');
export const CSR5_LTINTEN = fieldMask('CSR5', 'LTINTEN');
export const CSR5_TOKINTD = fieldMask('CSR5', 'TOKINTD');
export const MODE_DRX = fieldMask('CSR15', 'DRX');
export const MODE_DTX = fieldMask('CSR15', 'DTX');
export const MODE_LOOP = fieldMask('CSR15', 'LOOP');
export const MODE_DXMTFCS = fieldMask('CSR15', 'DXMTFCS');
export const MODE_INTL = fieldMask('CSR15', 'INTL');
export const MODE_DRCVPA = fieldMask('CSR15', 'DRCVPA');
export const MODE_DRCVBC = fieldMask('CSR15', 'DRCVBC');
export const MODE_PROM = fieldMask('CSR15', 'PROM');
export const MC_APROMWE = fieldMask('BCR2', 'APROMWE');
export const MC_TMAULOOP = fieldMask('BCR2', 'TMAULOOP');
export const LED_OUT = fieldMask('BCR4', 'LEDOUT');
export const LED_LINK = fieldMask('BCR4', 'LNKSTE');
export const BSBC_DWIO = fieldMask('BCR18', 'DWIO');
export const SWS_STYLE = fieldMask('BCR20', 'SWSTYLE');
export const SWS_SSIZE32 = fieldMask('BCR20', 'SSIZE32');
export const SWS_CSRPCNET = fieldMask('BCR20', 'CSRPCNET');

/** Descriptor status, the upper half of TMD1 and RMD1. */
const TMDS = Object.fromEntries(transmitStatusBits.map((f) => [f.name, maskIn(transmitStatusBits, f.name)]));
const RMDS = Object.fromEntries(receiveStatusBits.map((f) => [f.name, maskIn(receiveStatusBits, f.name)]));
export const OWN = RMDS['OWN']!;
export const ERR = RMDS['ERR']!;
export const STP = RMDS['STP']!;
export const ENP = RMDS['ENP']!;
export const TMD_ADD_FCS = TMDS['ADD/NO_FCS']!;
export const TMD_LTINT = TMDS['MORE/LTINT']!;
export const RMD_PAM = RMDS['PAM']!;
export const RMD_LAFM = RMDS['LAFM']!;
export const RMD_BAM = RMDS['BAM']!;
export const RMD_BUFF = RMDS['BUFF']!;
export const RMD_OFLO = RMDS['OFLO']!;
export const RMD_CRC = RMDS['CRC']!;
export const TMD2_LCAR = maskIn(transmitErrorBits, 'LCAR');
export const TMD2_UFLO = maskIn(transmitErrorBits, 'UFLO');
export const TMD2_BUFF = maskIn(transmitErrorBits, 'BUFF');

/** Longest ring, and what a ring length of 0 is taken as. */
export const MOST_DESCRIPTORS = 512;

/** A guest-physical address as the chip puts it on the bus: with 16-bit structures its upper byte is CSR2's. */
export const physical = (values: Uint32Array, address: number): number =>
  (values[R.BCR20]! & SWS_SSIZE32 ? address : address | ((values[R.CSR2]! & 0xff00) << 16)) >>> 0;
