/** The HPET's registers at 0xfed00000, three timers, the counter at 62.5 MHz as Xen's. Source: IA-PC HPET specification 1.0a. */
import type { RegisterDef } from '../../base/registers.ts';

export const HPET_TIMERS = 3;
/** Period of the counter in femtoseconds, and in nanoseconds. */
const HPET_PERIOD_FS = 16_000_000;
export const HPET_TICK_NS = 16;
/** IO-APIC pins a timer may be routed to. */
export const HPET_ROUTES = 0x00f00000;

const timer = (n: number): RegisterDef[] => [
  {
    name: `HPET_T${n}_CFG`,
    offset: 0x100 + n * 0x20,
    width: 4,
    access: 'rw',
    reset: 0x30,
    writable: 0x3f4e,
    doc: `timer ${n}: type, interrupt, route`,
    fields: [
      { name: 'level', lsb: 1 },
      { name: 'enable', lsb: 2 },
      { name: 'periodic', lsb: 3 },
      { name: 'periodic cap', lsb: 4 },
      { name: '64-bit cap', lsb: 5 },
      { name: 'set value', lsb: 6 },
      { name: '32-bit', lsb: 8 },
      { name: 'route', lsb: 9, bits: 5 },
    ],
  },
  {
    name: `HPET_T${n}_ROUTE_CAP`,
    offset: 0x104 + n * 0x20,
    width: 4,
    access: 'ro',
    reset: HPET_ROUTES,
    doc: 'pins this timer may be routed to',
  },
  { name: `HPET_T${n}_CMP`, offset: 0x108 + n * 0x20, width: 4, access: 'rw', reset: 0xffffffff, doc: 'comparator, low half' },
  {
    name: `HPET_T${n}_CMP_HI`,
    offset: 0x10c + n * 0x20,
    width: 4,
    access: 'rw',
    reset: 0xffffffff,
    doc: 'comparator, high half',
  },
];

export const hpetRegisters: readonly RegisterDef[] = [
  {
    name: 'HPET_ID',
    offset: 0x00,
    width: 4,
    access: 'ro',
    reset: 0x8086a201,
    doc: 'vendor, legacy routing, 64 bits, three timers, revision 1',
  },
  { name: 'HPET_PERIOD', offset: 0x04, width: 4, access: 'ro', reset: HPET_PERIOD_FS, doc: 'femtoseconds a tick' },
  {
    name: 'HPET_CFG',
    offset: 0x10,
    width: 4,
    access: 'rw',
    reset: 0,
    writable: 0x3,
    fields: [
      { name: 'enable', lsb: 0 },
      { name: 'legacy', lsb: 1 },
    ],
    doc: 'counting and legacy replacement',
  },
  { name: 'HPET_STATUS', offset: 0x20, width: 4, access: 'w1c', reset: 0, doc: 'level interrupts asserted' },
  { name: 'HPET_COUNTER', offset: 0xf0, width: 4, access: 'rw', reset: 0, doc: 'main counter, low half' },
  { name: 'HPET_COUNTER_HI', offset: 0xf4, width: 4, access: 'rw', reset: 0, doc: 'main counter, high half' },
  ...[0, 1, 2].flatMap(timer),
];
