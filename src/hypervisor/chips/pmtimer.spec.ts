import { describe, expect, it } from 'vitest';
import { platformMachine } from '../testing/platform.ts';

const machine = () => {
  const m = platformMachine();
  m.mmioWrite(0xfee000f0, 0x1ff);
  m.redirect(9, 0xa000 | 0x39);
  return m;
};

describe('ACPI PM timer and PM1a events', () => {
  it('counts at 3.579545 MHz in 32 bits', () => {
    const m = machine();
    m.advance(1e9 - m.clock.nowNs());
    expect(m.inb(0xb008, 4)).toBe(3579545);
    expect(m.inb(0xb008, 1)).toBe(0x99);
    expect(m.inb(0xb009, 2)).toBe(0x369e);
    expect(m.inb(0xb00a, 2)).toBe(0x36);
    m.outb(0xb008, 0, 4);
    expect(m.inb(0xb008, 4)).toBe(3579545);
    m.advance(1200e9);
    expect(m.inb(0xb008, 4)).toBe(Math.floor(1201 * 3579545) - 2 ** 32);
  });

  it('raises the SCI when the top bit changes and the guest asked for it', () => {
    const m = machine();
    m.outb(0xb002, 0xffff, 2);
    expect(m.inb(0xb002, 2)).toBe(0x0721);
    m.outb(0xb002, 1, 2);
    m.advance(599e9);
    expect(m.inb(0xb000, 2)).toBe(0);
    expect(m.take()).toBe(-1);
    m.advance(1e9);
    expect(m.inb(0xb000, 4)).toBe(0x10001);
    expect(m.take()).toBe(0x39);
    m.outb(0xb000, 0x01, 1); // ones clear
    m.eoi();
    expect(m.inb(0xb000, 2)).toBe(0);
    expect(m.take()).toBe(-1);
    expect(m.hub.gsiAssertCount(9)).toBe(0);
    m.advance(600e9);
    expect(m.take()).toBe(0x39);
  });

  it('sets status without an interrupt when the event is not enabled', () => {
    const m = machine();
    m.advance(600e9);
    expect(m.inb(0xb000, 2)).toBe(1);
    expect(m.take()).toBe(-1);
    m.outb(0xb003, 0, 1);
    m.outb(0xb002, 1, 1); // enabled while set: now
    expect(m.take()).toBe(0x39);
  });
});
