import type { NicModel } from '../model.ts';
import { Ne2kPci } from './core.ts';
import { ne2kReading } from './reading.ts';
import { ne2kRegisters } from './registers.ts';

export const ne2kPci: NicModel = {
  name: 'ne2k_pci',
  drivers: [{ name: 'ne2k-pci' }],
  tables: { '': ne2kRegisters },
  reading: ne2kReading,
  make: (slot, wire, { mac }) => new Ne2kPci(slot, wire, { mac }),
};
