import { describe, expect, it } from 'vitest';
import { hpetRegisters } from '../../abi/registers/hpet.ts';
import { VirtualClock } from '../time/clock.ts';
import { MachineMemory } from '../mm/memory.ts';
import { platformMachine } from '../testing/platform.ts';

const BASE = 0xfed00000;
const machine = (...args: Parameters<typeof platformMachine>) => {
  const m = platformMachine(...args);
  m.mmioWrite(0xfee000f0, 0x1ff);
  const read = (offset: number, size = 4): number => m.mmioRead(BASE + offset, size);
  const write = (offset: number, value: number): void => m.mmioWrite(BASE + offset, value);
  return {
    ...m,
    read,
    write,
    timer: (n: number, config: number) => write(0x100 + n * 0x20, config),
    compare: (n: number, value: number) => write(0x108 + n * 0x20, value),
  };
};
const route = (pin: number): number => pin << 9;

describe('HPET', () => {
  it.each(hpetRegisters.map((r) => [r.name, r] as const))('%s keeps to its declaration', (name, r) => {
    const m = machine();
    expect(m.read(r.offset)).toBe((r.reset ?? 0) >>> 0);
    m.write(r.offset, 0xffffffff);
    const after = m.read(r.offset);
    if (r.access === 'ro' || r.access === 'w1c') expect(after).toBe((r.reset ?? 0) >>> 0);
    else if (name === 'HPET_CFG') expect(after).toBe(3);
    else if (name.endsWith('CFG')) expect(after).toBe(0x3f7e);
    else expect(after).toBe(0xffffffff);
  });

  it('counts at 62.5 MHz while enabled, and is set while it stands', () => {
    const m = machine();
    m.write(0xf0, 0xfffffff0);
    m.write(0xf4, 7);
    m.write(0x10, 1);
    m.write(0xf0, 0);
    m.advance(16 * 0x20);
    expect(m.read(0xf0)).toBe(0x10);
    expect(m.read(0xf4)).toBe(8);
    m.write(0x10, 0);
    m.advance(1e9);
    expect(m.read(0xf0)).toBe(0x10);
    m.write(0x10, 1);
    m.advance(160);
    expect(m.read(0xf0)).toBe(0x1a);
    expect(m.read(0xf0, 1)).toBe(0x1a);
    expect(m.read(0xf1, 1)).toBe(0);
    expect(m.read(0x3f0)).toBe(0);
    expect(m.read(0x2)).toBe(0);
  });

  it('fires once at a match, on an IO-APIC pin it is wired to', () => {
    const m = machine();
    m.redirect(21, 0x51);
    m.write(0x10, 1);
    m.timer(2, 4 | route(21));
    m.compare(2, 1000);
    m.write(0x14c, 0);
    m.advance(15_900);
    expect(m.take()).toBe(-1);
    m.advance(100);
    expect(m.take()).toBe(0x51);
    m.eoi();
    m.advance(1e9);
    expect(m.take()).toBe(-1);
    m.compare(2, 5); // past: at once
    m.advance(0);
    expect(m.take()).toBe(0x51);
  });

  it('does nothing with a route it is not wired to', () => {
    const m = machine();
    for (const pin of [0, 2, 8, 19, 24, 31]) {
      m.redirect(pin, 0x60 + pin);
      m.write(0x10, 0);
      m.write(0xf0, 0);
      m.write(0x10, 1);
      for (const config of [4, 6]) {
        m.timer(2, config | route(pin));
        m.compare(2, m.read(0xf0) + 10);
        m.write(0x14c, 0);
        m.advance(1e6);
        expect(m.take()).toBe(-1);
        expect(m.read(0x20)).toBe(0);
      }
    }
  });

  it('holds a level interrupt until its status bit is cleared', () => {
    const m = machine();
    m.redirect(20, 0x8000 | 0x52);
    m.write(0x10, 1);
    m.timer(1, 4 | 2 | 0x100 | route(20));
    m.compare(1, 100);
    m.advance(1600);
    expect(m.take()).toBe(0x52);
    expect(m.read(0x20)).toBe(2);
    expect(m.hub.gsiAssertCount(20)).toBe(1);
    m.eoi();
    expect(m.take()).toBe(0x52);
    m.write(0x20, 1);
    expect(m.read(0x20)).toBe(2);
    m.write(0x20, 2);
    m.eoi();
    expect(m.take()).toBe(-1);
    expect(m.hub.gsiAssertCount(20)).toBe(0);
    m.compare(1, m.read(0xf0) + 10);
    m.advance(1e5);
    m.timer(1, 0x100 | route(20)); // turned off while asserted: the line goes down
    expect(m.read(0x20)).toBe(0);
    expect(m.hub.gsiAssertCount(20)).toBe(0);
  });

  it('is periodic as Linux programs it, legacy replacement taking interrupts 0 and 8 from PIT and RTC', () => {
    const m = machine();
    m.redirect(2, 0x30);
    m.outb(0x43, 0x34);
    m.outb(0x40, 0x10);
    m.outb(0x40, 0x10);
    const first = m.read(0xf0) + 250_000;
    m.write(0x10, 3);
    m.timer(0, 4 | 8 | 0x40 | 0x100);
    m.compare(0, first);
    m.compare(0, 250_000); // 4 ms
    let taken = 0;
    for (let ms = 0; ms < 1000; ms++) {
      m.advance(1e6);
      if (m.take() === 0x30) {
        taken++;
        m.eoi();
      }
    }
    expect(taken).toBe(250);
    expect(m.read(0x108)).toBeGreaterThan(m.read(0xf0));
    m.timer(0, 0);
    m.write(0x10, 1); // the PIT has its interrupt back
    m.advance(5e6);
    expect(m.take()).toBe(0x30);
  });

  it('does not let a guest ask for an interrupt storm', () => {
    const m = machine();
    m.redirect(20, 0x52);
    m.write(0x10, 1);
    m.timer(0, 4 | 8 | 0x40 | 0x100 | route(20));
    m.compare(0, 1);
    m.compare(0, 1);
    let fired = 0;
    for (let i = 0; i < 1000; i++) {
      m.advance(1_000);
      if (m.take() >= 0) {
        fired++;
        m.eoi();
      }
    }
    expect(fired).toBeLessThanOrEqual(11);
    expect(fired).toBeGreaterThan(5);
  });

  it('waits almost a turn for a 32-bit comparator far behind', () => {
    const m = machine();
    m.redirect(20, 0x52);
    m.write(0xf0, 0xc0000000);
    m.write(0x10, 1);
    m.timer(0, 4 | 0x100 | route(20));
    m.compare(0, 0x10);
    m.advance(16 * 0x3fffffff);
    expect(m.take()).toBe(-1);
    m.advance(16 * 0x11);
    expect(m.take()).toBe(0x52);
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.redirect(20, 0x52);
    m.write(0x10, 1);
    m.timer(0, 4 | 8 | 0x40 | 0x100 | route(20));
    m.compare(0, 50_000);
    m.compare(0, 50_000);
    m.advance(1_234_567);
    while (m.take() >= 0) m.eoi();
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    memory.u8.set(m.memory.u8);
    const clock = new VirtualClock();
    clock.skipTo(m.clock.nowNs());
    const n = machine(memory, clock);
    for (const x of [m, n]) x.advance(800_000);
    expect(n.read(0xf0)).toEqual(m.read(0xf0));
    expect(n.read(0x108)).toEqual(m.read(0x108));
    expect(n.take()).toEqual(m.take());
  });
});
