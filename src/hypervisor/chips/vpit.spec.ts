import { describe, expect, it } from 'vitest';
import { VirtualClock } from '../time/clock.ts';
import { MachineMemory } from '../mm/memory.ts';
import { platformMachine } from '../testing/platform.ts';

const TICK = 1e9 / 1193182;
const ticks = (n: number): number => Math.ceil(n * TICK);

const machine = (...args: Parameters<typeof platformMachine>) => {
  const m = platformMachine(...args);
  return {
    ...m,
    program(channel: number, mode: number, count: number, bcd = 0): void {
      m.outb(0x43, (channel << 6) | 0x30 | (mode << 1) | bcd);
      m.outb(0x40 + channel, count & 0xff);
      m.outb(0x40 + channel, count >> 8);
    },
    count(channel: number): number {
      m.outb(0x43, channel << 6);
      return m.inb(0x40 + channel) | (m.inb(0x40 + channel) << 8);
    },
    /** Interrupts of channel 0 delivered while this time passes. */
    interrupts(ns: number): number {
      let taken = 0;
      const end = m.clock.nowNs() + ns;
      for (let next = m.timers.nextDeadline(); next <= end; next = m.timers.nextDeadline()) {
        m.advance(next - m.clock.nowNs());
        if (m.take() === 0x30) {
          taken++;
          m.eoi();
        }
      }
      m.advance(end - m.clock.nowNs());
      return taken;
    },
  };
};
const withIrq0 = () => {
  const m = machine();
  m.mmioWrite(0xfee000f0, 0x1ff);
  m.redirect(2, 0x30);
  return m;
};

describe('8254', () => {
  it('interrupts at the rate asked for, without drift', () => {
    const m = withIrq0();
    m.program(0, 2, 4773); // 250 Hz
    expect(m.interrupts(1e9)).toBe(249);
    expect(m.interrupts(9e9)).toBe(2250);
    m.program(0, 3, 0); // 65,536: 18.2 Hz
    expect(m.interrupts(10e9)).toBe(182);
  });

  it('interrupts once in modes 0 and 4', () => {
    const m = withIrq0();
    for (const mode of [0, 4]) {
      m.program(0, mode, 1000);
      expect(m.interrupts(ticks(999))).toBe(0);
      expect(m.interrupts(ticks(2))).toBe(1);
      expect(m.interrupts(1e9)).toBe(0);
    }
    m.outb(0x43, 0x34); // a control word alone stops it
    expect(m.interrupts(1e9)).toBe(0);
  });

  it('counts down, by two in mode 3, and wraps in mode 0', () => {
    const m = machine();
    m.program(1, 2, 1000);
    m.advance(ticks(100));
    expect(m.count(1)).toBe(900);
    m.advance(ticks(1000));
    expect(m.count(1)).toBe(900);
    m.program(1, 3, 1000);
    m.advance(ticks(100));
    expect(m.count(1)).toBe(800);
    m.program(1, 0, 10);
    m.advance(ticks(20));
    expect(m.count(1)).toBe(0xfff6);
    m.program(1, 2, 0x1000, 1);
    m.advance(ticks(1));
    expect(m.count(1)).toBe(0x0999);
  });

  it('latches a count until it is read, and status with it', () => {
    const m = machine();
    m.program(1, 2, 0x1234);
    m.outb(0x43, 0xc4); // read-back: count and status of channel 1
    m.advance(ticks(50));
    m.outb(0x43, 0x40); // a second latch changes nothing
    expect(m.inb(0x41)).toBe(0xb4);
    expect(m.inb(0x41)).toBe(0x34);
    expect(m.inb(0x41)).toBe(0x12);
    expect(m.count(1)).toBe(0x1234 - 50);
    m.outb(0x43, 0x74);
    m.outb(0x43, 0xe4);
    expect(m.inb(0x41)).toBe(0xf4); // no count loaded yet
    m.outb(0x43, 0x54); // low byte alone
    m.outb(0x41, 200);
    m.advance(ticks(5));
    expect(m.inb(0x41)).toBe(195);
    expect(m.inb(0x41)).toBe(195);
    expect(m.inb(0x43)).toBe(0xff);
  });

  it('shows the output of channel 2 at port 0x61, as TSC calibration polls it', () => {
    const m = machine();
    m.outb(0x61, (m.inb(0x61) & ~2) | 1);
    const count = Math.floor(1193182 / 20); // 50 ms
    m.program(2, 0, count);
    expect(m.inb(0x61) & 0x2f).toBe(0x01);
    m.advance(49_900_000);
    expect(m.inb(0x61) & 0x20).toBe(0);
    m.advance(200_000);
    expect(m.inb(0x61) & 0x20).toBe(0x20);
    m.outb(0x61, 3);
    expect(m.inb(0x61) & 3).toBe(3);
    const refresh = Array.from({ length: 10 }, () => (m.advance(15_085), m.inb(0x61) & 0x10));
    expect(new Set(refresh).size).toBe(2);
  });

  it('starts channel 2 again when its gate rises in mode 2', () => {
    const m = machine();
    m.program(2, 2, 1000);
    m.advance(ticks(300));
    expect(m.count(2)).toBe(700);
    m.outb(0x61, 1);
    expect(m.count(2)).toBe(1000);
  });

  it('goes on from machine memory alone', () => {
    const m = withIrq0();
    m.program(0, 2, 10_000);
    m.interrupts(3e6);
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    memory.u8.set(m.memory.u8);
    const clock = new VirtualClock();
    clock.skipTo(m.clock.nowNs());
    const n = machine(memory, clock);
    expect(n.count(0)).toEqual(m.count(0));
    expect(n.interrupts(50e6)).toEqual(m.interrupts(50e6));
  });
});
