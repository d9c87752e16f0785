/** The IO-APIC's registers. Source: 82093AA data sheet; 48 pins as Xen's vioapic has. */
import type { BitField, RegisterDef } from '../../base/registers.ts';

/** Registers in its page at 0xfec00000. */
export const ioapicPage: readonly RegisterDef[] = [
  {
    name: 'IOREGSEL',
    offset: 0x00,
    width: 4,
    access: 'rw',
    reset: 0,
    writable: 0xff,
    doc: 'number of the register in the window',
  },
  { name: 'IOWIN', offset: 0x10, width: 4, access: 'rw', doc: 'window to the register selected' },
];

export const IOAPIC_PINS = 48;

/** Registers behind the window; `offset` is the number selected. */
export const ioapicRegisters: readonly RegisterDef[] = [
  { name: 'IOAPICID', offset: 0x00, width: 4, access: 'rw', reset: 0, writable: 0x0f000000, doc: 'identifier' },
  {
    name: 'IOAPICVER',
    offset: 0x01,
    width: 4,
    access: 'ro',
    reset: 0x11 | ((IOAPIC_PINS - 1) << 16),
    doc: 'version 0x11, number of the last pin',
  },
  { name: 'IOAPICARB', offset: 0x02, width: 4, access: 'ro', reset: 0, doc: 'arbitration identifier' },
];

/** First redirection entry; entry n takes registers 0x10 + 2n (low) and 0x11 + 2n (high). */
export const IOREDTBL = 0x10;
/** An entry's low half. */
export const IOREDTBL_FIELDS: readonly BitField[] = [
  { name: 'vector', lsb: 0, bits: 8 },
  { name: 'mode', lsb: 8, bits: 3, values: { 0: 'fixed', 1: 'lowest', 2: 'SMI', 4: 'NMI', 5: 'INIT', 7: 'ExtINT' } },
  { name: 'logical', lsb: 11 },
  { name: 'delivery status', lsb: 12 },
  { name: 'active low', lsb: 13 },
  { name: 'remote IRR', lsb: 14 },
  { name: 'level', lsb: 15 },
  { name: 'masked', lsb: 16 },
];
/** Bits of an entry's low half that software may write: all but delivery status and remote IRR. */
export const IOREDTBL_LOW_WRITABLE = 0x0001afff;
export const IOREDTBL_HIGH_WRITABLE = 0xff000000;
/** Reset value of the low half: masked. */
export const IOREDTBL_RESET = 0x00010000;

/** One entry of the redirection table, pin 0's of as many as there are pins. */
export const redirectionEntry: readonly RegisterDef[] = [
  {
    name: 'IOREDTBL_LOW',
    offset: IOREDTBL,
    width: 4,
    count: IOAPIC_PINS,
    stride: 2,
    access: 'rw',
    reset: IOREDTBL_RESET,
    writable: IOREDTBL_LOW_WRITABLE,
    fields: [
      { name: 'vector', lsb: 0, bits: 8 },
      {
        name: 'mode',
        lsb: 8,
        bits: 3,
        values: { 0: 'fixed', 1: 'lowest', 2: 'SMI', 4: 'NMI', 5: 'INIT', 7: 'ExtINT' },
      },
      { name: 'logical', lsb: 11 },
      { name: 'pending', lsb: 12 },
      { name: 'active low', lsb: 13 },
      { name: 'remote IRR', lsb: 14 },
      { name: 'level', lsb: 15 },
      { name: 'masked', lsb: 16 },
    ],
    doc: 'where an interrupt of this pin goes, and how',
  },
  {
    name: 'IOREDTBL_HIGH',
    offset: IOREDTBL + 1,
    width: 4,
    count: IOAPIC_PINS,
    stride: 2,
    access: 'rw',
    reset: 0,
    writable: IOREDTBL_HIGH_WRITABLE,
    fields: [{ name: 'destination', lsb: 24, bits: 8 }],
    doc: 'local APIC that the interrupt goes to',
  },
];
