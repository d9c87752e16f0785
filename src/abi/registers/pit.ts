/** The 8254 timer and port 0x61. Source: Intel 8254 data sheet; 82371AB (PIIX4) for NMI status and control. Offsets are ports. */
import { type RegisterDef, repeat } from '../../base/registers.ts';

export const pitRegisters: readonly RegisterDef[] = [
  ...repeat('PIT_CH', [0, 1, 2], {
    offset: 0x40,
    width: 1,
    access: 'rw',
    doc: 'count of this channel, in one or two bytes as its control word said',
  }),
  {
    name: 'PIT_MODE',
    offset: 0x43,
    width: 1,
    access: 'cmd',
    doc: 'control word, latch and read-back commands',
    fields: [
      { name: 'BCD', lsb: 0 },
      { name: 'mode', lsb: 1, bits: 3 },
      { name: 'access', lsb: 4, bits: 2, values: { 0: 'latch', 1: 'low', 2: 'high', 3: 'both' } },
      { name: 'channel', lsb: 6, bits: 2, values: { 3: 'read-back' } },
    ],
  },
  {
    name: 'NMI_SC',
    offset: 0x61,
    width: 1,
    access: 'rw',
    reset: 0,
    writable: 0x03,
    doc: 'gate and output of channel 2',
    fields: [
      { name: 'gate2', lsb: 0 },
      { name: 'speaker', lsb: 1 },
      { name: 'refresh', lsb: 4 },
      { name: 'out2', lsb: 5 },
    ],
  },
];

/** Ticks a second. */
export const PIT_FREQ = 1193182;
