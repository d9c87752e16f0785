/** Register tables of the chips that live in the hypervisor, by name: for the documentation and for readers of traces. */
import type { RegisterDef } from '../../base/registers.ts';
import { hpetRegisters } from './hpet.ts';
import { ioapicPage, ioapicRegisters } from './ioapic.ts';
import { lapicRegisters } from './lapic.ts';
import { picRegisters } from './pic.ts';
import { pitRegisters } from './pit.ts';
import { pmRegisters } from './pm.ts';
import { rtcRegisters } from './rtc.ts';

export const platformTables: Readonly<Record<string, readonly RegisterDef[]>> = {
  LAPIC: lapicRegisters,
  IOAPIC: ioapicPage,
  'IOAPIC window': ioapicRegisters,
  '8259A': picRegisters,
  '8254': pitRegisters,
  RTC: rtcRegisters,
  HPET: hpetRegisters,
  PM: pmRegisters,
};
