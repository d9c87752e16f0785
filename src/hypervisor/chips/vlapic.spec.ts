import { describe, expect, it } from 'vitest';
import { gpa } from '../../base/address.ts';
import { lapicRegisters } from '../../abi/registers/lapic.ts';
import { VirtualClock } from '../time/clock.ts';
import { Emul, type IoAccess } from '../io/intercept.ts';
import { MachineMemory } from '../mm/memory.ts';
import { TimerQueue } from '../time/timer.ts';
import { Vlapics, type VlapicOptions } from './vlapic.ts';

const machine = (
  options: Partial<VlapicOptions> = {},
  memory = MachineMemory.create({ frames: 16, maxGfn: 16 }),
  clock = new VirtualClock(),
) => {
  const events: string[] = [];
  const timers = new TimerQueue(memory, 1);
  const lapics = new Vlapics(
    memory,
    1,
    clock,
    timers,
    {
      kick: (v) => events.push(`kick ${v}`),
      nmi: (v) => events.push(`nmi ${v}`),
      init: (v) => events.push(`init ${v}`),
      startup: (v, vector) => events.push(`startup ${v} ${vector}`),
      guestTsc: () => clock.tsc(),
    },
    { vcpus: 1, x2apic: false, tscDeadline: true, ...options },
  );
  lapics.eoiBroadcasts.add((vector) => events.push(`eoi ${vector}`));
  const access = (isWrite: boolean, offset: number, lo: number, size: number, vcpu: number): IoAccess => ({
    vcpu,
    isWrite,
    address: 0xfee00000 + offset,
    size,
    lo,
    hi: 0,
  });
  const write = (offset: number, value: number, vcpu = 0): void => void lapics.write(access(true, offset, value, 4, vcpu));
  const read = (offset: number, size = 4, vcpu = 0): number => {
    const a = access(false, offset, 0xaaaa, size, vcpu);
    expect(lapics.read(a)).toBe(Emul.okay);
    return a.lo;
  };
  const advance = (ns: number): void => {
    clock.skipTo(clock.nowNs() + ns);
    timers.runExpired(clock.nowNs());
  };
  return { memory, clock, lapics, events, write, read, advance, enable: () => write(0xf0, 0x1ff) };
};

/** Take the pending interrupt as the vCPU would. */
const take = (lapics: Vlapics, vcpu = 0): number => {
  const vector = lapics.hasPendingIrq(vcpu);
  if (vector >= 0) expect(lapics.ackPendingIrq(vcpu, vector)).toBe(true);
  return vector;
};

describe('local APIC', () => {
  it.each(lapicRegisters.map((r) => [r.name, r] as const))('%s keeps to its declaration', (_, r) => {
    const m = machine();
    m.enable();
    if (r.reset !== undefined && r.name !== 'APIC_SPIV') expect(m.read(r.offset)).toBe(r.reset >>> 0);
    if (r.access !== 'rw' || ['APIC_ICR', 'APIC_ESR', 'APIC_TMICT', 'APIC_DFR'].includes(r.name)) return;
    m.write(r.offset, 0xffffffff);
    expect(m.read(r.offset)).toBe(((r.writable ?? 0xffffffff) & (r.name === 'APIC_LVTT' ? 0x710ff : 0xffffffff)) >>> 0);
    m.write(r.offset, 0);
    if (r.name !== 'APIC_SPIV') expect(m.read(r.offset)).toBe(0);
  });

  it('reads bytes and words of a register, zero between registers, and takes aligned 32-bit writes only', () => {
    const m = machine();
    expect([m.read(0x30, 1), m.read(0x32, 1), m.read(0x32, 2), m.read(0x34), m.read(0x31, 4), m.read(0x400)]).toEqual([
      0x14, 5, 5, 0, 0, 0,
    ]);
    m.lapics.write({ vcpu: 0, isWrite: true, address: 0xfee00080, size: 1, lo: 0x50, hi: 0 });
    expect(m.read(0x80)).toBe(0);
    expect([m.lapics.check(gpa(0xfee00fff), 0), m.lapics.check(gpa(0xfee01000), 0), m.lapics.check(gpa(0xfedfffff), 0)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  it('delivers by priority, holds back what is in service or below the task priority', () => {
    const m = machine();
    m.lapics.setIrq(0, 0x40, false);
    expect(take(m.lapics)).toBe(-1); // software-disabled: not accepted
    m.enable();
    m.lapics.setIrq(0, 0x41, false);
    m.lapics.setIrq(0, 0x41, false);
    m.lapics.setIrq(0, 0x73, false);
    expect(m.events).toEqual(['kick 0', 'kick 0']);
    expect(take(m.lapics)).toBe(0x73);
    expect([m.read(0xa0), m.lapics.hasPendingIrq(0)]).toEqual([0x70, -1]);
    m.lapics.setIrq(0, 0x7f, false);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1); // same class
    m.write(0xb0, 0);
    expect(take(m.lapics)).toBe(0x7f);
    m.write(0xb0, 0);
    m.lapics.setCr8(0, 4);
    expect([m.read(0x80), m.lapics.hasPendingIrq(0)]).toEqual([0x40, -1]);
    m.lapics.setCr8(0, 3);
    expect(take(m.lapics)).toBe(0x41);
    expect(m.lapics.ackPendingIrq(0, 0x41)).toBe(false);
  });

  it('tells the IO-APIC of the end of level-triggered vectors alone', () => {
    const m = machine();
    m.enable();
    m.lapics.setIrq(0, 0x51, true);
    m.lapics.setIrq(0, 0x62, false);
    expect(m.read(0x180 + 0x20)).toBe(1 << 0x11);
    take(m.lapics);
    m.write(0xb0, 0);
    expect(m.events).not.toContain('eoi 98');
    take(m.lapics);
    m.write(0xb0, 0);
    m.write(0xb0, 0);
    expect(m.events.filter((e) => e.startsWith('eoi'))).toEqual(['eoi 81']);
  });

  it('TMR keeps the trigger mode of a vector past its end of interrupt, until it is requested again', () => {
    const m = machine();
    m.enable();
    const tmr = 0x180 + 0x20;
    m.lapics.setIrq(0, 0x51, true);
    take(m.lapics);
    m.write(0xb0, 0);
    expect(m.read(tmr)).toBe(1 << 0x11);
    m.lapics.setIrq(0, 0x51, false);
    expect(m.read(tmr)).toBe(0);
  });

  it('counts down once, or again and again, at 100 MHz over the divisor', () => {
    const m = machine();
    m.enable();
    m.write(0x3e0, 0x3); // by 16
    m.write(0x320, 0x30);
    m.write(0x380, 1000);
    m.advance(80_000);
    expect([m.read(0x390), m.lapics.hasPendingIrq(0)]).toEqual([500, -1]);
    m.write(0x3e0, 0xb); // by 1: the rest goes 16 times as fast
    expect(m.read(0x390)).toBe(500);
    m.advance(5_000);
    expect([m.read(0x390), take(m.lapics)]).toEqual([0, 0x30]);
    m.advance(1e6);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.write(0xb0, 0);
    m.write(0x320, 0x20031);
    m.write(0x380, 20_000);
    m.advance(200_000);
    expect(take(m.lapics)).toBe(0x31);
    m.write(0xb0, 0);
    m.advance(700_000); // ticks missed are one tick
    expect([m.read(0x390), take(m.lapics)]).toEqual([10_000, 0x31]);
    m.write(0xb0, 0);
    m.advance(100_000);
    expect(take(m.lapics)).toBe(0x31);
    m.write(0xb0, 0);
    m.write(0x380, 0);
    m.advance(1e6);
    expect(take(m.lapics)).toBe(-1);
  });

  it('fires at a TSC deadline, which then reads zero', () => {
    const m = machine();
    m.enable();
    expect(m.lapics.writeMsr(0, 0x6e0, 5000n)).toBe('done');
    expect(m.lapics.readMsr(0, 0x6e0)).toBe(0n); // not in that mode
    m.write(0x320, 0x40033);
    m.lapics.writeMsr(0, 0x6e0, 5000n);
    m.advance(4999);
    expect([m.lapics.readMsr(0, 0x6e0), m.lapics.hasPendingIrq(0)]).toEqual([5000n, -1]);
    m.advance(1);
    expect([m.lapics.readMsr(0, 0x6e0), take(m.lapics)]).toEqual([0n, 0x33]);
    m.lapics.writeMsr(0, 0x6e0, 9000n);
    m.write(0x320, 0x33); // leaving the mode disarms
    m.advance(1e5);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    expect(machine({ tscDeadline: false }).lapics.writeMsr(0, 0x6e0, 1n)).toBe('fault');
  });

  it('collects errors until ESR is written, one interrupt an error', () => {
    const m = machine();
    m.enable();
    m.write(0x370, 0xfe);
    m.lapics.setIrq(0, 3, false);
    m.lapics.setIrq(0, 5, false);
    expect([m.read(0x280), take(m.lapics), m.lapics.hasPendingIrq(0)]).toEqual([0, 0xfe, -1]);
    m.write(0x280, 0);
    expect(m.read(0x280)).toBe(0x40);
    m.write(0x300, 0x40003); // IPI to self with an illegal vector
    m.write(0x280, 0);
    expect(m.read(0x280)).toBe(0x20);
    m.write(0x280, 0);
    expect(m.read(0x280)).toBe(0);
  });

  it('survives an error vector that is itself illegal', () => {
    const m = machine();
    m.enable();
    m.write(0x370, 0x5);
    m.write(0x300, 0x40003);
    m.write(0x280, 0);
    expect(m.read(0x280)).toBe(0x60);
  });

  it('sends IPIs by shorthand, identifier and logical address', () => {
    const m = machine({ vcpus: 3 });
    for (const v of [0, 1, 2]) m.write(0xf0, 0x1ff, v);
    m.write(0xd0, 0x04000000, 2);
    m.write(0x300, 0x400a1); // self
    m.write(0x310, 0x02000000);
    m.write(0x300, 0xa2); // APIC 2 is vCPU 1
    m.write(0x310, 0x04000000);
    m.write(0x300, 0x8a3); // logical
    expect([0, 1, 2].map((v) => take(m.lapics, v))).toEqual([0xa1, 0xa2, 0xa3]);
    m.events.length = 0;
    m.write(0x300, 0xc4500); // INIT to all others
    m.write(0x300, 0xc8500); // its de-assert: nobody
    m.write(0x310, 0x02000000);
    m.write(0x300, 0x4609);
    m.write(0x300, 0x400);
    expect(m.events).toEqual(['init 1', 'init 2', 'startup 1 9', 'nmi 1']);
  });

  it('goes on counting when its mode changes, and stays at its end', () => {
    const m = machine();
    m.enable();
    const [LVTT, TMICT, TMCCT, TDCR, PERIODIC] = [0x320, 0x380, 0x390, 0x3e0, 0x20000];
    m.write(TDCR, 0xb); // one count, one bus cycle: 10 ns
    m.write(LVTT, 0x40);
    m.write(TMICT, 100_000);
    m.advance(600_000);
    m.write(LVTT, PERIODIC | 0x40);
    expect(m.read(TMCCT)).toBe(40_000);
    m.advance(500_000);
    expect([take(m.lapics), m.read(TMCCT)]).toEqual([0x40, 90_000]);
    m.write(0xb0, 0);
    m.write(LVTT, 0x40);
    m.advance(1_000_000);
    expect([take(m.lapics), m.read(TMCCT)]).toEqual([0x40, 0]);
    m.write(0xb0, 0);
    m.write(LVTT, PERIODIC | 0x40);
    m.advance(2_500_000);
    expect([take(m.lapics), m.read(TMCCT)]).toEqual([-1, 0]);
    m.write(TMICT, 100_000);
    m.advance(1_000_000);
    expect([take(m.lapics), m.read(TMCCT)]).toEqual([0x40, 100_000]);
  });

  it('has no arbitration priority in x2APIC mode', () => {
    const m = machine({ x2apic: true });
    m.lapics.writeMsr(0, 0x1b, 0xfee00d00n);
    expect([m.lapics.readMsr(0, 0x808), m.lapics.readMsr(0, 0x809), m.lapics.readMsr(0, 0x80a)]).toEqual([0n, 'fault', 0n]);
  });

  it('has x2APIC mode when shown, and only then', () => {
    expect(machine().lapics.writeMsr(0, 0x1b, 0xfee00d00n)).toBe('fault');
    const m = machine({ x2apic: true });
    m.enable();
    expect(m.lapics.readMsr(0, 0x802)).toBe('fault');
    expect(m.lapics.writeMsr(0, 0x1b, 0xfee00d00n)).toBe('done');
    expect(m.lapics.check(gpa(0xfee00000), 0)).toBe(false);
    expect(m.lapics.readMsr(0, 0x80d)).toBe(1n);
    expect(m.lapics.writeMsr(0, 0x80d, 1n)).toBe('fault');
    expect(m.lapics.writeMsr(0, 0x83f, 0x44n)).toBe('done');
    expect(take(m.lapics)).toBe(0x44);
    expect([m.lapics.writeMsr(0, 0x80b, 1n), m.lapics.writeMsr(0, 0x80b, 0n)]).toEqual(['fault', 'done']);
    expect(m.lapics.writeMsr(0, 0x830, 0x0000_0000_0000_00_55n)).toBe('done');
    expect([take(m.lapics), m.lapics.readMsr(0, 0x830)]).toEqual([0x55, 0x55n]);
    expect(m.lapics.writeMsr(0, 0x808, 0x100n)).toBe('fault');
    // What Linux writes when it hands LINT0 back to the 8259s: read-only bits of an LVT entry are no fault, reserved ones are.
    expect([m.lapics.writeMsr(0, 0x835, 0x5700n), m.lapics.writeMsr(0, 0x835, 0x20000n)]).toEqual(['done', 'fault']);
    expect([m.lapics.writeMsr(0, 0x1b, 0xfee00900n), m.lapics.writeMsr(0, 0x1b, 0xfee00100n)]).toEqual(['fault', 'done']);
    expect(m.lapics.readMsr(0, 0x900)).toBeUndefined();
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.enable();
    m.write(0x320, 0x20031);
    m.write(0x380, 10_000);
    m.lapics.setIrq(0, 0x99, true);
    m.advance(70_000);
    const copy = MachineMemory.create({ frames: 16, maxGfn: 16 });
    copy.u8.set(m.memory.u8);
    const clock = new VirtualClock();
    clock.skipTo(m.clock.nowNs());
    const n = machine({}, copy, clock);
    for (const x of [m, n]) {
      expect([x.read(0x390), take(x.lapics)]).toEqual([6500, 0x99]);
      x.write(0xb0, 0);
      x.advance(130_000);
      expect(take(x.lapics)).toBe(0x31);
    }
  });
});
