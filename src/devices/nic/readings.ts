import { e1000Reading } from './e1000/reading.ts';
import { ne2kReading } from './ne2k_pci/reading.ts';
import { pcnetReading } from './pcnet/reading.ts';
import type { NicReading } from './reading.ts';
import { rtl8139Reading } from './rtl8139/reading.ts';

/** Every chip that can tell its own story. */
export const nicReadings: readonly NicReading[] = [e1000Reading, rtl8139Reading, ne2kReading, pcnetReading];
