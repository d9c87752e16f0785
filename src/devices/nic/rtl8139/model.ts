import type { NicModel } from '../model.ts';
import { Rtl8139 } from './core.ts';
import { rtl8139Reading } from './reading.ts';
import { rtl8139Registers } from './registers.ts';

export const rtl8139: NicModel = {
  name: 'rtl8139',
  // 8139cp takes the C+ chip's revision, 0x20, alone; 8139too refuses that one.
  drivers: [
    { name: '8139cp', revision: 0x20 },
    { name: '8139too', revision: 0x10 },
  ],
  tables: { '': rtl8139Registers },
  // QEMU's memory BAR is an alias of the I/O block, and its log shows port numbers for both.
  attach: { aliases: { 1: 0 } },
  reading: rtl8139Reading,
  make: (slot, wire, { mac, revision }) => new Rtl8139(slot, wire, { mac, ...(revision === undefined ? {} : { revision }) }),
};
