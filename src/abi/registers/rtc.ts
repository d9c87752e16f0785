/** The MC146818 real-time clock's registers. Source: Motorola MC146818 data sheet. Offsets are indices written to port 0x70. */
import type { RegisterDef } from '../../base/registers.ts';

const time = (name: string, offset: number, doc: string): RegisterDef => ({ name, offset, width: 1, access: 'rw', doc });

export const rtcRegisters: readonly RegisterDef[] = [
  time('RTC_SECONDS', 0x00, 'seconds'),
  time('RTC_SECONDS_ALARM', 0x01, 'alarm seconds; 0xc0 and above match any'),
  time('RTC_MINUTES', 0x02, 'minutes'),
  time('RTC_MINUTES_ALARM', 0x03, 'alarm minutes'),
  time('RTC_HOURS', 0x04, 'hours; bit 7 is PM in 12-hour mode'),
  time('RTC_HOURS_ALARM', 0x05, 'alarm hours'),
  time('RTC_DAY_OF_WEEK', 0x06, 'day of the week, Sunday is 1'),
  time('RTC_DAY_OF_MONTH', 0x07, 'day of the month'),
  time('RTC_MONTH', 0x08, 'month'),
  time('RTC_YEAR', 0x09, 'year of the century'),
  {
    name: 'RTC_REG_A',
    offset: 0x0a,
    width: 1,
    access: 'rw',
    reset: 0x26,
    writable: 0x7f,
    fields: [
      { name: 'RS', lsb: 0, bits: 4 },
      { name: 'DV', lsb: 4, bits: 3 },
      { name: 'UIP', lsb: 7 },
    ],
    doc: 'divider and periodic rate',
  },
  {
    name: 'RTC_REG_B',
    offset: 0x0b,
    width: 1,
    access: 'rw',
    reset: 0x02,
    fields: [
      { name: 'DSE', lsb: 0 },
      { name: '24H', lsb: 1 },
      { name: 'binary', lsb: 2 },
      { name: 'SQWE', lsb: 3 },
      { name: 'UIE', lsb: 4 },
      { name: 'AIE', lsb: 5 },
      { name: 'PIE', lsb: 6 },
      { name: 'SET', lsb: 7 },
    ],
    doc: 'formats and interrupt enables',
  },
  {
    name: 'RTC_REG_C',
    offset: 0x0c,
    width: 1,
    access: 'ro',
    reset: 0,
    fields: [
      { name: 'UF', lsb: 4 },
      { name: 'AF', lsb: 5 },
      { name: 'PF', lsb: 6 },
      { name: 'IRQF', lsb: 7 },
    ],
    doc: 'interrupt flags; a read clears them',
  },
  {
    name: 'RTC_REG_D',
    offset: 0x0d,
    width: 1,
    access: 'ro',
    reset: 0x80,
    fields: [{ name: 'VRT', lsb: 7 }],
    doc: 'the battery is good',
  },
  time('RTC_CENTURY', 0x32, 'century'),
];
