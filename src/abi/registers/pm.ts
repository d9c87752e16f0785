/** The ACPI fixed registers that live in the hypervisor. Source: ACPI 6.4, chapter 4.8.3. Offsets are ports; PM1a_CNT (0xb004) is the device model's. */
import type { BitField, RegisterDef } from '../../base/registers.ts';

const events: BitField[] = [
  { name: 'TMR', lsb: 0 },
  { name: 'GBL', lsb: 5 },
  { name: 'PWRBTN', lsb: 8 },
  { name: 'SLPBTN', lsb: 9 },
  { name: 'RTC', lsb: 10 },
];

export const pmRegisters: readonly RegisterDef[] = [
  { name: 'PM1a_STS', offset: 0xb000, width: 2, access: 'w1c', reset: 0, fields: events, doc: 'events that happened' },
  {
    name: 'PM1a_EN',
    offset: 0xb002,
    width: 2,
    access: 'rw',
    reset: 0,
    writable: 0x0721,
    fields: events,
    doc: 'events that raise the SCI',
  },
  { name: 'PM_TMR', offset: 0xb008, width: 4, access: 'ro', doc: 'power management timer, 3.579545 MHz, 32 bits' },
];

/** Ticks of the PM timer a second. */
export const PM_TIMER_FREQUENCY = 3579545;
