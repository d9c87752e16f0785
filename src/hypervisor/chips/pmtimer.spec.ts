import { describe, expect, it } from 'vitest';
import { platformMachine } from '../testing/platform.ts';

const machine = () => {
  const m = platformMachine();
  m.enableLapic();
  m.redirect(9, { vector: 0x39, level: 1, 'active low': 1 });
  return m;
};

describe('ACPI PM timer and PM1a events', () => {
  it('counts at 3.579545 MHz in 32 bits', () => {
    const m = machine();
    m.advance(1e9 - m.clock.nowNs());
    expect(m.ports.read('PM_TMR')).toBe(3579545);
    expect(m.inb(0xb008, 1)).toBe(0x99);
    expect(m.inb(0xb009, 2)).toBe(0x369e);
    expect(m.inb(0xb00a, 2)).toBe(0x36);
    m.ports.write('PM_TMR', 0);
    expect(m.ports.read('PM_TMR')).toBe(3579545);
    m.advance(1200e9);
    expect(m.ports.read('PM_TMR')).toBe(Math.floor(1201 * 3579545) - 2 ** 32);
  });

  it('raises the SCI when the top bit changes and the guest asked for it', () => {
    const m = machine();
    m.ports.write('PM1a_EN', 0xffff);
    expect(m.ports.read('PM1a_EN')).toBe(m.ports.value('PM1a_EN', { TMR: 1, GBL: 1, PWRBTN: 1, SLPBTN: 1, RTC: 1 }));
    m.ports.write('PM1a_EN', { TMR: 1 });
    m.advance(599e9);
    expect(m.ports.read('PM1a_STS')).toBe(0);
    expect(m.take()).toBe(-1);
    m.advance(1e9);
    expect(m.inb(0xb000, 4)).toBe(0x10001);
    expect(m.take()).toBe(0x39);
    m.ports.write('PM1a_STS', { TMR: 1 }); // ones clear
    m.eoi();
    expect(m.ports.read('PM1a_STS')).toBe(0);
    expect(m.take()).toBe(-1);
    expect(m.hub.gsiAssertCount(9)).toBe(0);
    m.advance(600e9);
    expect(m.take()).toBe(0x39);
  });

  it('sets status without an interrupt when the event is not enabled', () => {
    const m = machine();
    m.advance(600e9);
    expect(m.ports.read('PM1a_STS')).toBe(m.ports.value('PM1a_STS', { TMR: 1 }));
    expect(m.take()).toBe(-1);
    m.outb(0xb003, 0, 1);
    m.outb(0xb002, 1, 1); // enabled while set: now
    expect(m.take()).toBe(0x39);
  });
});
