import type { NicModel } from '../model.ts';
import { E1000 } from './core.ts';
import { e1000Reading } from './reading.ts';
import { e1000Tables } from './tables.ts';

export const e1000: NicModel = {
  name: 'e1000',
  drivers: [{ name: 'e1000' }],
  tables: e1000Tables,
  reading: e1000Reading,
  make: (slot, wire, { mac }) => new E1000(slot, wire, { mac }),
};
