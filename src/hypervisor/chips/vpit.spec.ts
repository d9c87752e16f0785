import { describe, expect, it } from 'vitest';
import { PIT_FREQ } from '../../abi/registers/pit.ts';
import { VirtualClock } from '../time/clock.ts';
import { MachineMemory } from '../mm/memory.ts';
import { platformMachine } from '../testing/platform.ts';

const TICK = 1e9 / PIT_FREQ;
/** The read-back command of PIT_MODE: status, and without NO_COUNT the count too, of the channels named. */
const READ_BACK = 0xc0;
const NO_COUNT = 0x20;
const READ_CHANNEL_1 = 0x04;
const ticks = (n: number): number => Math.ceil(n * TICK);

const machine = (...args: Parameters<typeof platformMachine>) => {
  const m = platformMachine(...args);
  return {
    ...m,
    program(channel: number, mode: number, count: number, bcd = 0): void {
      m.ports.write('PIT_MODE', { channel, access: 'both', mode, BCD: bcd });
      m.ports.write(`PIT_CH${channel}`, count & 0xff);
      m.ports.write(`PIT_CH${channel}`, count >> 8);
    },
    count(channel: number): number {
      m.ports.write('PIT_MODE', { channel, access: 'latch' });
      return m.ports.read(`PIT_CH${channel}`) | (m.ports.read(`PIT_CH${channel}`) << 8);
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
  m.enableLapic();
  m.redirect(2, { vector: 0x30 });
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
    m.ports.write('PIT_MODE', { access: 'both', mode: 2 }); // a control word alone stops it
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
    m.ports.write('PIT_MODE', READ_BACK | READ_CHANNEL_1);
    m.advance(ticks(50));
    m.ports.write('PIT_MODE', { channel: 1, access: 'latch' }); // a second latch changes nothing
    expect(m.ports.read('PIT_CH1')).toBe(0xb4);
    expect(m.ports.read('PIT_CH1')).toBe(0x34);
    expect(m.ports.read('PIT_CH1')).toBe(0x12);
    expect(m.count(1)).toBe(0x1234 - 50);
    m.ports.write('PIT_MODE', { channel: 1, access: 'both', mode: 2 });
    m.ports.write('PIT_MODE', READ_BACK | NO_COUNT | READ_CHANNEL_1);
    expect(m.ports.read('PIT_CH1')).toBe(0xf4); // no count loaded yet
    m.ports.write('PIT_MODE', { channel: 1, access: 'low', mode: 2 });
    m.ports.write('PIT_CH1', 200);
    m.advance(ticks(5));
    expect(m.ports.read('PIT_CH1')).toBe(195);
    expect(m.ports.read('PIT_CH1')).toBe(195);
    expect(m.ports.read('PIT_MODE')).toBe(0xff);
  });

  it('shows the output of channel 2 at port 0x61, as TSC calibration polls it', () => {
    const m = machine();
    m.ports.write('NMI_SC', { gate2: 1 });
    const count = Math.floor(PIT_FREQ / 20); // 50 ms
    m.program(2, 0, count);
    expect(m.ports.field('NMI_SC', 'gate2')).toBe(1);
    expect(m.ports.field('NMI_SC', 'speaker')).toBe(0);
    expect(m.ports.field('NMI_SC', 'out2')).toBe(0);
    m.advance(49_900_000);
    expect(m.ports.field('NMI_SC', 'out2')).toBe(0);
    m.advance(200_000);
    expect(m.ports.field('NMI_SC', 'out2')).toBe(1);
    m.ports.write('NMI_SC', { gate2: 1, speaker: 1 });
    expect(m.ports.field('NMI_SC', 'gate2')).toBe(1);
    expect(m.ports.field('NMI_SC', 'speaker')).toBe(1);
    const refresh = Array.from({ length: 10 }, () => (m.advance(15_085), m.ports.field('NMI_SC', 'refresh')));
    expect(new Set(refresh).size).toBe(2);
  });

  it('starts channel 2 again when its gate rises in mode 2', () => {
    const m = machine();
    m.program(2, 2, 1000);
    m.advance(ticks(300));
    expect(m.count(2)).toBe(700);
    m.ports.write('NMI_SC', { gate2: 1 });
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
