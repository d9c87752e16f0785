/** What the pieces of the chip need of the whole, and names for places and bits, all from the register table. */
import type { RegisterFile } from '../../register-file.ts';
import { ne2kRegisters, type Ne2kRegister, type Ne2kWritten } from './registers.ts';
import type { Ne2kState } from './state.ts';

export interface ChipPort {
  readonly regs: RegisterFile<Ne2kRegister>;
  readonly state: Ne2kState;
  /** Sets interrupt status bits and drives the pin. */
  interrupt(bits: number): void;
}

/** Register indices by the name a read has: `regs.values[R.EN0_ISR]`. */
export const R = Object.fromEntries(ne2kRegisters.map((r, i) => [r.name, i])) as Readonly<Record<Ne2kRegister, number>>;

/** Register indices by the name a write has, where that differs: the register file keeps there what was written. */
export const W = Object.fromEntries(ne2kRegisters.flatMap((r, i) => (r.written ? [[r.written.name, i]] : []))) as Readonly<
  Record<Ne2kWritten, number>
>;

function fieldMask(register: Ne2kRegister | Ne2kWritten, name: string): number {
  const fields =
    register in R
      ? ne2kRegisters[R[register as Ne2kRegister]]!.fields
      : ne2kRegisters[W[register as Ne2kWritten]]!.written!.fields;
  const field = fields?.find((f) => f.name === name);
  if (!field) throw new Error(`ne2k_pci: register ${register} has no field ${name}`);
  return (2 ** (field.bits ?? 1) - 1) * 2 ** field.lsb;
}

export const CMD_STOP = fieldMask('E8390_CMD', 'STP');
export const CMD_TRANS = fieldMask('E8390_CMD', 'TXP');
/** RD0 and RD1: remote read or remote write. */
export const CMD_REMOTE = 0x18;
export const CMD_PAGE_SHIFT = 6;
export const ISR_RX = fieldMask('EN0_ISR', 'PRX');
export const ISR_TX = fieldMask('EN0_ISR', 'PTX');
export const ISR_RDC = fieldMask('EN0_ISR', 'RDC');
export const ISR_RESET = fieldMask('EN0_ISR', 'RST');
/** All that can interrupt: RST cannot. */
export const ISR_ALL = 0x7f;
export const TSR_PTX = fieldMask('EN0_TSR', 'PTX');
export const RSR_RXOK = fieldMask('EN0_RSR', 'PRX');
export const RSR_PHY = fieldMask('EN0_RSR', 'PHY');
export const RXCR_BROADCAST = fieldMask('EN0_RXCR', 'AB');
export const RXCR_MULTICAST = fieldMask('EN0_RXCR', 'AM');
export const RXCR_PROMISCUOUS = fieldMask('EN0_RXCR', 'PRO');
export const DCFG_WORDS = fieldMask('EN0_DCFG', 'WTS');
