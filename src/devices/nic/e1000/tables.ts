/** The chip's tables by the name of their place in docs/e1000.md. */
import type { RegisterDef } from '../../registers.ts';
import { contextTxDescriptor, dataTxDescriptor, legacyTxDescriptor, rxDescriptor } from './descriptors.ts';
import { phyRegisters } from './phy.ts';
import { e1000IoRegisters, e1000Registers } from './registers.ts';

export const e1000Tables = {
  '': e1000Registers,
  ports: e1000IoRegisters,
  PHY: phyRegisters,
  'legacy transmit descriptor': legacyTxDescriptor,
  'context descriptor': contextTxDescriptor,
  'data descriptor': dataTxDescriptor,
  'receive descriptor': rxDescriptor,
} satisfies Readonly<Record<string, readonly RegisterDef[]>>;
