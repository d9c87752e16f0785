import type { NicModel } from '../../src/devices/nic/model.ts';
import { ToyChip } from './core.ts';
import { toyReading } from './reading.ts';
import { toyRegisters } from './registers.ts';

export const toy: NicModel = {
  name: 'toy',
  drivers: [{ name: 'toynet' }],
  tables: { '': toyRegisters },
  reading: toyReading,
  make: (slot, wire) => new ToyChip(slot, wire),
};
