import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../time/clock.ts';
import { MachineMemory } from '../mm/memory.ts';
import { platformMachine } from '../testing/platform.ts';

/** Wall clock at power-on: 2024-02-29 23:59:50 UTC, a Thursday. */
const EPOCH_US = Date.UTC(2024, 1, 29, 23, 59, 50) * 1000;

const flag = (name: string): number => platformMachine().rtc.value('RTC_REG_C', { [name]: 1 });
const [UF, AF, PF, IRQF] = [flag('UF'), flag('AF'), flag('PF'), flag('IRQF')];

/** The registers of the time, the longest first. */
const CLOCK = [
  'RTC_CENTURY',
  'RTC_YEAR',
  'RTC_MONTH',
  'RTC_DAY_OF_MONTH',
  'RTC_DAY_OF_WEEK',
  'RTC_HOURS',
  'RTC_MINUTES',
  'RTC_SECONDS',
];

const machine = (memory = MachineMemory.create({ frames: 16, maxGfn: 16 }), clock = new VirtualClock(EPOCH_US)) => {
  const m = platformMachine(memory, clock);
  m.enableLapic();
  m.redirect(8, { vector: 0x38 });
  const { read: get, write: set, field } = m.rtc;
  return { ...m, get, set, field, time: () => CLOCK.map(get) };
};

describe('RTC', () => {
  it('tells the time in BCD and binary, in 24 and 12 hours', () => {
    const m = machine();
    expect(m.time()).toEqual([0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x50]);
    m.advance(10e9);
    expect(m.time()).toEqual([0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00]);
    m.set('RTC_REG_B', { '24H': 1, binary: 1 });
    m.advance(13 * 3600e9);
    expect(m.time()).toEqual([20, 24, 3, 1, 6, 13, 0, 0]);
    m.set('RTC_REG_B', { binary: 1 });
    expect(m.get('RTC_HOURS')).toBe(0x81);
    m.set('RTC_REG_B', 0);
    m.advance(11 * 3600e9);
    expect(m.get('RTC_HOURS')).toBe(0x12);
  });

  it('shows an update in progress at the end of each second', () => {
    const m = machine();
    m.advance(500e6 - (m.clock.nowNs() % 1e9));
    expect(m.field('RTC_REG_A', 'UIP')).toBe(0);
    m.advance(499e6);
    expect(m.field('RTC_REG_A', 'UIP')).toBe(1);
    m.advance(1e6);
    expect(m.field('RTC_REG_A', 'UIP')).toBe(0);
  });

  it('is set by the guest, which the host hears of', () => {
    const m = machine();
    m.set('RTC_REG_B', { SET: 1, '24H': 1 });
    m.set('RTC_HOURS', 0x11);
    m.set('RTC_MINUTES', 0x30);
    m.advance(5e9);
    expect(m.time().slice(5)).toEqual([0x11, 0x30, 0x50]); // stands still
    m.set('RTC_REG_B', { '24H': 1 });
    m.advance(3e9);
    expect(m.time()).toEqual([0x20, 0x24, 0x02, 0x29, 5, 0x11, 0x30, 0x53]);
    expect(m.offsets).toEqual([-(12 * 3600 + 29 * 60 + 5)]);
    m.set('RTC_SECONDS', 0x00);
    expect(m.get('RTC_SECONDS')).toBe(0);
    expect(m.offsets.at(-1)).toBe(-(12 * 3600 + 29 * 60 + 5 + 53));
    m.set('RTC_MONTH', 0xff); // no month: the time stays sane
    expect(m.time().every((b) => Number.isInteger(b))).toBe(true);
  });

  it('interrupts periodically at the rate of register A', () => {
    const m = machine();
    m.set('RTC_REG_B', { PIE: 1, '24H': 1 });
    let count = 0;
    const end = m.clock.nowNs() + 1e9;
    while (m.clock.nowNs() < end) {
      m.advance(100_000);
      if (m.take() === 0x38) {
        expect(m.get('RTC_REG_C') & (IRQF | PF)).toBe(IRQF | PF);
        m.eoi();
        count++;
      }
    }
    expect(count).toBe(1024);
    expect(m.get('RTC_REG_C') & PF).toBe(0);
    m.set('RTC_REG_B', { '24H': 1 });
    m.advance(10e6);
    expect(m.take()).toBe(-1);
    expect(m.get('RTC_REG_C') & (IRQF | PF)).toBe(PF); // the flag without the interrupt
  });

  it('gives no second edge until its flags are read', () => {
    const m = machine();
    m.set('RTC_REG_B', { PIE: 1, '24H': 1 });
    m.advance(50e6);
    expect(m.take()).toBe(0x38);
    m.eoi();
    m.advance(50e6);
    expect(m.take()).toBe(-1);
    m.get('RTC_REG_C');
    m.advance(2e6);
    expect(m.take()).toBe(0x38);
  });

  it('interrupts at each update, and at the alarm', () => {
    const m = machine();
    m.set('RTC_REG_B', { UIE: 1, '24H': 1 });
    m.advance(1e9);
    expect(m.take()).toBe(0x38);
    expect(m.get('RTC_REG_C')).toBe(IRQF | PF | UF);
    m.eoi();
    m.set('RTC_REG_B', { AIE: 1, '24H': 1 });
    m.set('RTC_SECONDS_ALARM', 0x03);
    m.set('RTC_MINUTES_ALARM', 0x00);
    m.set('RTC_HOURS_ALARM', 0xc0); // any hour
    m.advance(11e9); // 00:00:02
    expect(m.take()).toBe(-1);
    m.advance(1e9);
    expect(m.take()).toBe(0x38);
    expect(m.get('RTC_REG_C') & (IRQF | AF)).toBe(IRQF | AF);
  });

  it('finds a past alarm when register C is read', () => {
    const m = machine();
    m.get('RTC_REG_C');
    m.set('RTC_SECONDS_ALARM', 0x30);
    m.set('RTC_MINUTES_ALARM', 0x12);
    m.set('RTC_HOURS_ALARM', 0x05);
    m.advance(5 * 3600e9);
    expect(m.get('RTC_REG_C') & AF).toBe(0);
    m.advance(3600e9);
    expect(m.get('RTC_REG_C') & AF).toBe(AF);
    expect(m.get('RTC_REG_C') & AF).toBe(0);
  });

  it('keeps CMOS memory, guards registers C and D, and takes a word at 0x70', () => {
    const m = machine();
    m.outb(0x70, 0x5a40, 2);
    m.set('RTC_REG_D', 0);
    m.outb(0x70, 0x40);
    expect(m.inb(0x71)).toBe(0x5a);
    expect(m.get('RTC_REG_D')).toBe(m.rtc.value('RTC_REG_D', { VRT: 1 }));
    expect(m.inb(0x70)).toBe(0xff);
    m.outb(0x70, 0xc0); // bit 7 masks NMI, not part of the index
    expect(m.inb(0x71)).toBe(0x5a);
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.set('RTC_HOURS', 0x10);
    m.set('RTC_REG_B', { PIE: 1, UIE: 1, '24H': 1 });
    m.advance(3.3e9);
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    memory.u8.set(m.memory.u8);
    const clock = new VirtualClock(EPOCH_US);
    clock.skipTo(m.clock.nowNs());
    const n = machine(memory, clock);
    for (const x of [m, n]) x.advance(0.9e9);
    expect(n.time()).toEqual(m.time());
    expect(n.get('RTC_REG_C')).toEqual(m.get('RTC_REG_C'));
    expect(n.take()).toEqual(m.take());
  });
});
