import { describe, expect, it } from 'vitest';
import { hpetRegisters } from '../../abi/registers/hpet.ts';
import { VirtualClock } from '../time/clock.ts';
import { MachineMemory } from '../mm/memory.ts';
import type { RegisterValue } from '../../base/testing/by-name.ts';
import { platformMachine } from '../testing/platform.ts';

const BASE = 0xfed00000;
const machine = (...args: Parameters<typeof platformMachine>) => {
  const m = platformMachine(...args);
  m.enableLapic();
  const { read, write, value } = m.hpet;
  return {
    ...m,
    read,
    write,
    value,
    readAt: (offset: number, size = 4): number => m.mmioRead(BASE + offset, size),
    timer: (n: number, config: RegisterValue) => write(`HPET_T${n}_CFG`, config),
    compare: (n: number, at: number) => write(`HPET_T${n}_CMP`, at),
    on: () => write('HPET_CFG', { enable: 1 }),
  };
};

describe('HPET', () => {
  it.each(hpetRegisters.map((r) => [r.name, r] as const))('%s keeps to its declaration', (name, r) => {
    const m = machine();
    expect(m.read(name)).toBe((r.reset ?? 0) >>> 0);
    m.write(name, 0xffffffff);
    const after = m.read(name);
    if (r.access === 'ro' || r.access === 'w1c') expect(after).toBe((r.reset ?? 0) >>> 0);
    else if (name === 'HPET_CFG') expect(after).toBe(m.value(name, { enable: 1, legacy: 1 }));
    else if (name.endsWith('CFG')) expect(after).toBe((r.writable! | r.reset!) >>> 0);
    else expect(after).toBe(0xffffffff);
  });

  it('counts at 62.5 MHz while enabled, and is set while it stands', () => {
    const m = machine();
    m.write('HPET_COUNTER', 0xfffffff0);
    m.write('HPET_COUNTER_HI', 7);
    m.on();
    m.write('HPET_COUNTER', 0);
    m.advance(16 * 0x20);
    expect(m.read('HPET_COUNTER')).toBe(0x10);
    expect(m.read('HPET_COUNTER_HI')).toBe(8);
    m.write('HPET_CFG', 0);
    m.advance(1e9);
    expect(m.read('HPET_COUNTER')).toBe(0x10);
    m.on();
    m.advance(160);
    expect(m.read('HPET_COUNTER')).toBe(0x1a);
    expect(m.readAt(0xf0, 1)).toBe(0x1a);
    expect(m.readAt(0xf1, 1)).toBe(0);
    expect(m.readAt(0x3f0)).toBe(0);
    expect(m.readAt(0x2)).toBe(0);
  });

  it('fires once at a match, on an IO-APIC pin it is wired to', () => {
    const m = machine();
    m.redirect(21, { vector: 0x51 });
    m.on();
    m.timer(2, { enable: 1, route: 21 });
    m.compare(2, 1000);
    m.write('HPET_T2_CMP_HI', 0);
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
      m.redirect(pin, { vector: 0x60 + pin });
      m.write('HPET_CFG', 0);
      m.write('HPET_COUNTER', 0);
      m.on();
      for (const level of [0, 1]) {
        m.timer(2, { enable: 1, level, route: pin });
        m.compare(2, m.read('HPET_COUNTER') + 10);
        m.write('HPET_T2_CMP_HI', 0);
        m.advance(1e6);
        expect(m.take()).toBe(-1);
        expect(m.read('HPET_STATUS')).toBe(0);
      }
    }
  });

  it('holds a level interrupt until its status bit is cleared', () => {
    const m = machine();
    m.redirect(20, { vector: 0x52, level: 1 });
    m.on();
    m.timer(1, { enable: 1, level: 1, '32-bit': 1, route: 20 });
    m.compare(1, 100);
    m.advance(1600);
    expect(m.take()).toBe(0x52);
    expect(m.read('HPET_STATUS')).toBe(2);
    expect(m.hub.gsiAssertCount(20)).toBe(1);
    m.eoi();
    expect(m.take()).toBe(0x52);
    m.write('HPET_STATUS', 1);
    expect(m.read('HPET_STATUS')).toBe(2);
    m.write('HPET_STATUS', 2);
    m.eoi();
    expect(m.take()).toBe(-1);
    expect(m.hub.gsiAssertCount(20)).toBe(0);
    m.compare(1, m.read('HPET_COUNTER') + 10);
    m.advance(1e5);
    m.timer(1, { '32-bit': 1, route: 20 }); // turned off while asserted: the line goes down
    expect(m.read('HPET_STATUS')).toBe(0);
    expect(m.hub.gsiAssertCount(20)).toBe(0);
  });

  it('is periodic as Linux programs it, legacy replacement taking interrupts 0 and 8 from PIT and RTC', () => {
    const m = machine();
    m.redirect(2, { vector: 0x30 });
    m.ports.write('PIT_MODE', { access: 'both', mode: 2 });
    m.ports.write('PIT_CH0', 0x10);
    m.ports.write('PIT_CH0', 0x10);
    const first = m.read('HPET_COUNTER') + 250_000;
    m.write('HPET_CFG', { enable: 1, legacy: 1 });
    m.timer(0, { enable: 1, periodic: 1, 'set value': 1, '32-bit': 1 });
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
    expect(m.read('HPET_T0_CMP')).toBeGreaterThan(m.read('HPET_COUNTER'));
    m.timer(0, 0);
    m.on(); // the PIT has its interrupt back
    m.advance(5e6);
    expect(m.take()).toBe(0x30);
  });

  it('does not let a guest ask for an interrupt storm', () => {
    const m = machine();
    m.redirect(20, { vector: 0x52 });
    m.on();
    m.timer(0, { enable: 1, periodic: 1, 'set value': 1, '32-bit': 1, route: 20 });
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
    m.redirect(20, { vector: 0x52 });
    m.write('HPET_COUNTER', 0xc0000000);
    m.on();
    m.timer(0, { enable: 1, '32-bit': 1, route: 20 });
    m.compare(0, 0x10);
    m.advance(16 * 0x3fffffff);
    expect(m.take()).toBe(-1);
    m.advance(16 * 0x11);
    expect(m.take()).toBe(0x52);
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.redirect(20, { vector: 0x52 });
    m.on();
    m.timer(0, { enable: 1, periodic: 1, 'set value': 1, '32-bit': 1, route: 20 });
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
    expect(n.read('HPET_COUNTER')).toEqual(m.read('HPET_COUNTER'));
    expect(n.read('HPET_T0_CMP')).toEqual(m.read('HPET_T0_CMP'));
    expect(n.take()).toEqual(m.take());
  });
});
