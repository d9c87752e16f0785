import type { NicReading } from './reading.ts';
import { rtl8139Reading } from './rtl8139/reading.ts';

/** Every chip that can tell its own story. */
export const nicReadings: readonly NicReading[] = [rtl8139Reading];
