import type { NicModel } from '../model.ts';
import { Pcnet } from './core.ts';
import { pcnetReading } from './reading.ts';
import { pcnetRegisters } from './registers.ts';

export const pcnet: NicModel = {
  name: 'pcnet',
  drivers: [{ name: 'pcnet32' }],
  tables: { '': pcnetRegisters },
  reading: pcnetReading,
  make: (slot, wire, { mac }) => new Pcnet(slot, wire, { mac }),
};
