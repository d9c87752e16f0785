/** The two 8259A interrupt controllers and their edge/level registers. Source: Intel 8259A data sheet; 82371AB (PIIX4) for ELCR. */
import type { RegisterDef } from '../../base/registers.ts';

/** Offsets are port numbers. */
export const picRegisters: readonly RegisterDef[] = [
  { name: 'PIC_MASTER_CMD', offset: 0x20, width: 1, access: 'rw', doc: 'ICW1, OCW2, OCW3; reads give IRR, ISR or the poll byte' },
  {
    name: 'PIC_MASTER_IMR',
    offset: 0x21,
    width: 1,
    access: 'rw',
    reset: 0,
    doc: 'ICW2 to ICW4 after ICW1; else the interrupt mask',
  },
  { name: 'PIC_SLAVE_CMD', offset: 0xa0, width: 1, access: 'rw', doc: 'as PIC_MASTER_CMD, lines 8 to 15' },
  { name: 'PIC_SLAVE_IMR', offset: 0xa1, width: 1, access: 'rw', reset: 0, doc: 'as PIC_MASTER_IMR, lines 8 to 15' },
  { name: 'PIC_ELCR1', offset: 0x4d0, width: 1, access: 'rw', reset: 0, writable: 0xf8, doc: 'level-triggered lines 3 to 7' },
  {
    name: 'PIC_ELCR2',
    offset: 0x4d1,
    width: 1,
    access: 'rw',
    reset: 0,
    writable: 0xde,
    doc: 'level-triggered lines 9 to 12, 14, 15',
  },
];
