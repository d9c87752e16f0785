import { nicModels } from './models.ts';
import type { NicReading } from './reading.ts';

/** How each chip is read. */
export const nicReadings: readonly NicReading[] = nicModels.map(({ reading }) => reading);
