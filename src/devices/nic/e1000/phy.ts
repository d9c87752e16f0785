/**
 * The PHY behind MDIC: a Marvell M88E1000 at address 1. `offset` is the MII register number. Names are those of Linux's e1000,
 * `dataSheet` those of the manual, chapter 13.5 ("PHY Registers").
 */
import type { RegisterDef } from '../../registers.ts';
import { bit } from './registers.ts';

const table = [
  {
    name: 'PHY_CTRL',
    dataSheet: 'PCTRL',
    offset: 0x00,
    width: 2,
    access: 'rw',
    reset: 0x1140,
    writable: 0x7dc0,
    doc: 'PHY control',
    fields: [
      bit(6, 'SPEED_SELECT_MSB', 'Speed, upper bit'),
      bit(7, 'COLL_TEST'),
      bit(8, 'FULL_DUPLEX'),
      bit(9, 'RESTART_AUTO_NEG', 'Negotiate anew; clears itself'),
      bit(10, 'ISOLATE'),
      bit(11, 'POWER_DOWN'),
      bit(12, 'AUTO_NEG_EN', 'Auto-negotiation'),
      bit(13, 'SPEED_SELECT_LSB', 'Speed, lower bit'),
      bit(14, 'LOOPBACK', 'Frames sent come back in'),
      bit(15, 'RESET', 'Does nothing here; clears itself'),
    ],
  },
  {
    name: 'PHY_STATUS',
    dataSheet: 'PSTATUS',
    offset: 0x01,
    width: 2,
    access: 'ro',
    reset: 0x794d,
    doc: 'PHY status',
    fields: [
      bit(0, 'EXTENDED_CAPS'),
      bit(1, 'JABBER_DETECT'),
      bit(2, 'LINK_STATUS', 'The link is up'),
      bit(3, 'AUTONEG_CAPS'),
      bit(4, 'REMOTE_FAULT'),
      bit(5, 'AUTONEG_COMPLETE'),
      bit(6, 'PREAMBLE_SUPPRESS'),
      bit(8, 'EXTENDED_STATUS'),
      bit(9, '100T2_HD'),
      bit(10, '100T2_FD'),
      bit(11, '10T_HD'),
      bit(12, '10T_FD'),
      bit(13, '100X_HD'),
      bit(14, '100X_FD'),
      bit(15, '100T4'),
    ],
  },
  { name: 'PHY_ID1', dataSheet: 'PHYID', offset: 0x02, width: 2, access: 'ro', reset: 0x0141, doc: 'Maker: Marvell' },
  { name: 'PHY_ID2', dataSheet: 'PHYID2', offset: 0x03, width: 2, access: 'ro', reset: 0x0c20, doc: 'Model' },
  {
    name: 'PHY_AUTONEG_ADV',
    dataSheet: 'ANA',
    offset: 0x04,
    width: 2,
    access: 'rw',
    reset: 0x0de1,
    doc: 'What the PHY advertises',
  },
  {
    name: 'PHY_LP_ABILITY',
    dataSheet: 'LPA',
    offset: 0x05,
    width: 2,
    access: 'ro',
    reset: 0x01e0,
    fields: [bit(14, 'LPACK', 'Negotiation is done')],
    doc: 'What the link partner advertises',
  },
  {
    name: 'PHY_AUTONEG_EXP',
    dataSheet: 'ANE',
    offset: 0x06,
    width: 2,
    access: 'ro',
    reset: 0,
    doc: 'Auto-negotiation expansion',
  },
  { name: 'PHY_1000T_CTRL', dataSheet: 'GCON', offset: 0x09, width: 2, access: 'rw', reset: 0x0e00, doc: '1000BASE-T control' },
  {
    name: 'PHY_1000T_STATUS',
    dataSheet: 'GSTATUS',
    offset: 0x0a,
    width: 2,
    access: 'ro',
    reset: 0x3c00,
    doc: '1000BASE-T status',
  },
  {
    name: 'M88E1000_PHY_SPEC_CTRL',
    dataSheet: 'PSCON',
    offset: 0x10,
    width: 2,
    access: 'rw',
    reset: 0x0360,
    doc: 'PHY specific control',
  },
  {
    name: 'M88E1000_PHY_SPEC_STATUS',
    dataSheet: 'PSSTAT',
    offset: 0x11,
    width: 2,
    access: 'ro',
    reset: 0xac00,
    doc: 'PHY specific status',
  },
  {
    name: 'M88E1000_EXT_PHY_SPEC_CTRL',
    dataSheet: 'EPSCON1',
    offset: 0x14,
    width: 2,
    access: 'rw',
    reset: 0x0d60,
    doc: 'Extended PHY specific control',
  },
  { name: 'M88E1000_RX_ERR_CNTR', dataSheet: 'REC', offset: 0x15, width: 2, access: 'ro', reset: 0, doc: 'Receive errors' },
] as const satisfies readonly RegisterDef[];

export type PhyRegister = (typeof table)[number]['name'];
export const phyRegisters: readonly RegisterDef<PhyRegister>[] = table;

/** MII register numbers by name. */
const Phy = Object.fromEntries(table.map((r) => [r.name, r.offset])) as Readonly<Record<PhyRegister, number>>;

const phyBit = (register: PhyRegister, name: string): number => {
  const found = (phyRegisters.find((r) => r.name === register)!.fields ?? []).find((f) => f.name === name);
  if (!found) throw new Error(`e1000: PHY register ${register} has no field ${name}`);
  return 1 << found.lsb;
};
const PHY_LOOPBACK = phyBit('PHY_CTRL', 'LOOPBACK');
const AUTO_NEG_EN = phyBit('PHY_CTRL', 'AUTO_NEG_EN');
const RESTART_AUTO_NEG = phyBit('PHY_CTRL', 'RESTART_AUTO_NEG');
const LINK_STATUS = phyBit('PHY_STATUS', 'LINK_STATUS');
const AUTONEG_COMPLETE = phyBit('PHY_STATUS', 'AUTONEG_COMPLETE');
const LPACK = phyBit('PHY_LP_ABILITY', 'LPACK');

const PHY_COUNT = 32;
const byNumber: readonly (RegisterDef<PhyRegister> | undefined)[] = Array.from({ length: PHY_COUNT }, (_, n) =>
  phyRegisters.find((r) => r.offset === n),
);

/** The PHY's registers and what they mean for the link. `values` by MII register number. */
export class M88E1000 {
  readonly values = new Uint16Array(PHY_COUNT);

  reset(): void {
    this.values.fill(0);
    for (const r of phyRegisters) this.values[r.offset] = r.reset!;
  }

  /** A register's value, or undefined where there is none. */
  read(number: number): number | undefined {
    return byNumber[number] === undefined ? undefined : this.values[number]!;
  }

  /**
   * Writes a register.
   * @returns undefined where no register takes writes; else whether the driver asks for a new negotiation
   */
  write(number: number, value: number): boolean | undefined {
    const def = byNumber[number];
    if (def?.access !== 'rw') return undefined;
    const wanted = number === Phy.PHY_CTRL && (value & RESTART_AUTO_NEG) !== 0;
    this.values[number] = value & (def.writable ?? 0xffff);
    return wanted && this.negotiates;
  }

  /** Is auto-negotiation on? */
  get negotiates(): boolean {
    return (this.values[Phy.PHY_CTRL]! & AUTO_NEG_EN) !== 0;
  }

  get negotiated(): boolean {
    return (this.values[Phy.PHY_STATUS]! & AUTONEG_COMPLETE) !== 0;
  }

  get loopback(): boolean {
    return (this.values[Phy.PHY_CTRL]! & PHY_LOOPBACK) !== 0;
  }

  linkDown(): void {
    this.values[Phy.PHY_STATUS]! &= ~(LINK_STATUS | AUTONEG_COMPLETE);
    this.values[Phy.PHY_LP_ABILITY]! &= ~LPACK;
  }

  linkUp(): void {
    this.values[Phy.PHY_STATUS]! |= LINK_STATUS;
  }

  negotiationDone(): void {
    this.linkUp();
    this.values[Phy.PHY_LP_ABILITY]! |= LPACK;
    this.values[Phy.PHY_STATUS]! |= AUTONEG_COMPLETE;
  }
}
