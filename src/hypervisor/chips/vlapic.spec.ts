import { describe, expect, it } from 'vitest';
import { gpa } from '../../base/address.ts';
import { lapicRegisters, SELF_IPI } from '../../abi/registers/lapic.ts';
import { byName } from '../../base/testing/by-name.ts';
import { VirtualClock } from '../time/clock.ts';
import { Emul, type IoAccess } from '../io/intercept.ts';
import { MachineMemory } from '../mm/memory.ts';
import { TimerQueue } from '../time/timer.ts';
import { Vlapics, type VlapicOptions } from './vlapic.ts';

const MSR_APIC_BASE = 0x1b;
/** Values of it for the boot vCPU, by mode. */
const X2APIC_MODE = 0xfee00d00n;
const XAPIC_MODE = 0xfee00900n;
const APIC_OFF = 0xfee00100n;
const MSR_TSC_DEADLINE = 0x6e0;
const MSR_X2APIC = 0x800;
/** MSR of a register in x2APIC mode. */
const x2apic = (register: string): number => MSR_X2APIC + lapicRegisters.find(({ name }) => name === register)!.offset / 16;
/** Timer divisors in APIC_TDCR. */
const BY_1 = 0xb;
const BY_16 = 0x3;

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
  const readAt = (offset: number, size: number): number => {
    const a = access(false, offset, 0xaaaa, size, 0);
    expect(lapics.read(a)).toBe(Emul.okay);
    return a.lo;
  };
  /** The registers of one vCPU's local APIC. */
  const of = (vcpu: number) =>
    byName(lapicRegisters, {
      read: readAt,
      write: (offset, size, value) => void lapics.write(access(true, offset, value, size, vcpu)),
    });
  const { read, write, field, value } = of(0);
  const advance = (ns: number): void => {
    clock.skipTo(clock.nowNs() + ns);
    timers.runExpired(clock.nowNs());
  };
  const enable = (vcpu = 0): void => of(vcpu).write('APIC_SPIV', { vector: 0xff, enabled: 1 });
  const eoi = (): void => write('APIC_EOI', 0);
  return { memory, clock, lapics, events, of, write, read, field, value, readAt, advance, enable, eoi };
};

/** Take the pending interrupt as the vCPU would. */
const take = (lapics: Vlapics, vcpu = 0): number => {
  const vector = lapics.hasPendingIrq(vcpu);
  if (vector >= 0) expect(lapics.ackPendingIrq(vcpu, vector)).toBe(true);
  return vector;
};

describe('local APIC', () => {
  it.each(lapicRegisters.map((r) => [r.name, r] as const))('%s keeps to its declaration', (name, r) => {
    const m = machine();
    m.enable();
    if (r.reset !== undefined && r.name !== 'APIC_SPIV') expect(m.read(name)).toBe(r.reset >>> 0);
    if (r.access !== 'rw' || ['APIC_ICR', 'APIC_ESR', 'APIC_TMICT', 'APIC_DFR'].includes(r.name)) return;
    m.write(name, 0xffffffff);
    expect(m.read(name)).toBe(
      ((r.writable ?? 0xffffffff) &
        (r.name === 'APIC_LVTT' ? m.value('APIC_LVTT', { vector: 0xff, masked: 1, timer: 3 }) : 0xffffffff)) >>>
        0,
    );
    m.write(name, 0);
    if (r.name !== 'APIC_SPIV') expect(m.read(name)).toBe(0);
  });

  it('reads bytes and words of a register, zero between registers, and takes aligned 32-bit writes only', () => {
    const m = machine();
    expect(m.readAt(0x30, 1)).toBe(0x14);
    expect(m.readAt(0x32, 1)).toBe(5);
    expect(m.readAt(0x32, 2)).toBe(5);
    expect(m.readAt(0x34, 4)).toBe(0);
    expect(m.readAt(0x31, 4)).toBe(0);
    expect(m.readAt(0x400, 4)).toBe(0);
    m.lapics.write({ vcpu: 0, isWrite: true, address: 0xfee00080, size: 1, lo: 0x50, hi: 0 });
    expect(m.read('APIC_TASKPRI')).toBe(0);
    expect(m.lapics.check(gpa(0xfee00fff), 0)).toBe(true);
    expect(m.lapics.check(gpa(0xfee01000), 0)).toBe(false);
    expect(m.lapics.check(gpa(0xfedfffff), 0)).toBe(false);
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
    expect(m.read('APIC_PROCPRI')).toBe(0x70);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.lapics.setIrq(0, 0x7f, false);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1); // same class
    m.eoi();
    expect(take(m.lapics)).toBe(0x7f);
    m.eoi();
    m.lapics.setCr8(0, 4);
    expect(m.read('APIC_TASKPRI')).toBe(0x40);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.lapics.setCr8(0, 3);
    expect(take(m.lapics)).toBe(0x41);
    expect(m.lapics.ackPendingIrq(0, 0x41)).toBe(false);
  });

  it('tells the IO-APIC of the end of level-triggered vectors alone', () => {
    const m = machine();
    m.enable();
    m.lapics.setIrq(0, 0x51, true);
    m.lapics.setIrq(0, 0x62, false);
    expect(m.read('APIC_TMR2')).toBe(1 << (0x51 % 32));
    take(m.lapics);
    m.eoi();
    expect(m.events).not.toContain('eoi 98');
    take(m.lapics);
    m.eoi();
    m.eoi();
    expect(m.events.filter((e) => e.startsWith('eoi'))).toEqual(['eoi 81']);
  });

  it('TMR keeps the trigger mode of a vector past its end of interrupt, until it is requested again', () => {
    const m = machine();
    m.enable();
    m.lapics.setIrq(0, 0x51, true);
    take(m.lapics);
    m.eoi();
    expect(m.read('APIC_TMR2')).toBe(1 << (0x51 % 32));
    m.lapics.setIrq(0, 0x51, false);
    expect(m.read('APIC_TMR2')).toBe(0);
  });

  it('counts down once, or again and again, at 100 MHz over the divisor', () => {
    const m = machine();
    m.enable();
    m.write('APIC_TDCR', BY_16);
    m.write('APIC_LVTT', { vector: 0x30 });
    m.write('APIC_TMICT', 1000);
    m.advance(80_000);
    expect(m.read('APIC_TMCCT')).toBe(500);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.write('APIC_TDCR', BY_1); // the rest goes 16 times as fast
    expect(m.read('APIC_TMCCT')).toBe(500);
    m.advance(5_000);
    expect(m.read('APIC_TMCCT')).toBe(0);
    expect(take(m.lapics)).toBe(0x30);
    m.advance(1e6);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.eoi();
    m.write('APIC_LVTT', { timer: 'periodic', vector: 0x31 });
    m.write('APIC_TMICT', 20_000);
    m.advance(200_000);
    expect(take(m.lapics)).toBe(0x31);
    m.eoi();
    m.advance(700_000); // ticks missed are one tick
    expect(m.read('APIC_TMCCT')).toBe(10_000);
    expect(take(m.lapics)).toBe(0x31);
    m.eoi();
    m.advance(100_000);
    expect(take(m.lapics)).toBe(0x31);
    m.eoi();
    m.write('APIC_TMICT', 0);
    m.advance(1e6);
    expect(take(m.lapics)).toBe(-1);
  });

  it('fires at a TSC deadline, which then reads zero', () => {
    const m = machine();
    m.enable();
    expect(m.lapics.writeMsr(0, MSR_TSC_DEADLINE, 5000n)).toBe('done');
    expect(m.lapics.readMsr(0, MSR_TSC_DEADLINE)).toBe(0n); // not in that mode
    m.write('APIC_LVTT', { timer: 'TSC-deadline', vector: 0x33 });
    m.lapics.writeMsr(0, MSR_TSC_DEADLINE, 5000n);
    m.advance(4999);
    expect(m.lapics.readMsr(0, MSR_TSC_DEADLINE)).toBe(5000n);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.advance(1);
    expect(m.lapics.readMsr(0, MSR_TSC_DEADLINE)).toBe(0n);
    expect(take(m.lapics)).toBe(0x33);
    m.lapics.writeMsr(0, MSR_TSC_DEADLINE, 9000n);
    m.write('APIC_LVTT', { vector: 0x33 }); // leaving the mode disarms
    m.advance(1e5);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    expect(machine({ tscDeadline: false }).lapics.writeMsr(0, MSR_TSC_DEADLINE, 1n)).toBe('fault');
  });

  it('collects errors until ESR is written, one interrupt an error', () => {
    const m = machine();
    m.enable();
    m.write('APIC_LVTERR', { vector: 0xfe });
    m.lapics.setIrq(0, 3, false);
    m.lapics.setIrq(0, 5, false);
    expect(m.read('APIC_ESR')).toBe(0);
    expect(take(m.lapics)).toBe(0xfe);
    expect(m.lapics.hasPendingIrq(0)).toBe(-1);
    m.write('APIC_ESR', 0);
    expect(m.read('APIC_ESR')).toBe(m.value('APIC_ESR', { 'receive illegal vector': 1 }));
    m.write('APIC_ICR', { shorthand: 'self', vector: 3 }); // an illegal one
    m.write('APIC_ESR', 0);
    expect(m.read('APIC_ESR')).toBe(m.value('APIC_ESR', { 'send illegal vector': 1 }));
    m.write('APIC_ESR', 0);
    expect(m.read('APIC_ESR')).toBe(0);
  });

  it('survives an error vector that is itself illegal', () => {
    const m = machine();
    m.enable();
    m.write('APIC_LVTERR', { vector: 5 });
    m.write('APIC_ICR', { shorthand: 'self', vector: 3 });
    m.write('APIC_ESR', 0);
    expect(m.read('APIC_ESR')).toBe(m.value('APIC_ESR', { 'send illegal vector': 1, 'receive illegal vector': 1 }));
  });

  it('sends IPIs by shorthand, identifier and logical address', () => {
    const m = machine({ vcpus: 3 });
    for (const v of [0, 1, 2]) m.enable(v);
    m.of(2).write('APIC_LDR', 0x04000000);
    m.write('APIC_ICR', { shorthand: 'self', vector: 0xa1 });
    m.write('APIC_ICR2', { destination: 2 });
    m.write('APIC_ICR', { vector: 0xa2 }); // APIC 2 is vCPU 1
    m.write('APIC_ICR2', { destination: 4 });
    m.write('APIC_ICR', { logical: 1, vector: 0xa3 });
    expect([0, 1, 2].map((v) => take(m.lapics, v))).toEqual([0xa1, 0xa2, 0xa3]);
    m.events.length = 0;
    m.write('APIC_ICR', { shorthand: 'others', mode: 'INIT', assert: 1 });
    m.write('APIC_ICR', { shorthand: 'others', mode: 'INIT', level: 1 }); // its de-assert: nobody
    m.write('APIC_ICR2', { destination: 2 });
    m.write('APIC_ICR', { mode: 'startup', assert: 1, vector: 9 });
    m.write('APIC_ICR', { mode: 'NMI' });
    expect(m.events).toEqual(['init 1', 'init 2', 'startup 1 9', 'nmi 1']);
  });

  it('goes on counting when its mode changes, and stays at its end', () => {
    const m = machine();
    m.enable();
    m.write('APIC_TDCR', BY_1); // one count, one bus cycle: 10 ns
    m.write('APIC_LVTT', { vector: 0x40 });
    m.write('APIC_TMICT', 100_000);
    m.advance(600_000);
    m.write('APIC_LVTT', { timer: 'periodic', vector: 0x40 });
    expect(m.read('APIC_TMCCT')).toBe(40_000);
    m.advance(500_000);
    expect(take(m.lapics)).toBe(0x40);
    expect(m.read('APIC_TMCCT')).toBe(90_000);
    m.eoi();
    m.write('APIC_LVTT', { vector: 0x40 });
    m.advance(1_000_000);
    expect(take(m.lapics)).toBe(0x40);
    expect(m.read('APIC_TMCCT')).toBe(0);
    m.eoi();
    m.write('APIC_LVTT', { timer: 'periodic', vector: 0x40 });
    m.advance(2_500_000);
    expect(take(m.lapics)).toBe(-1);
    expect(m.read('APIC_TMCCT')).toBe(0);
    m.write('APIC_TMICT', 100_000);
    m.advance(1_000_000);
    expect(take(m.lapics)).toBe(0x40);
    expect(m.read('APIC_TMCCT')).toBe(100_000);
  });

  it('has no arbitration priority in x2APIC mode', () => {
    const m = machine({ x2apic: true });
    m.lapics.writeMsr(0, MSR_APIC_BASE, X2APIC_MODE);
    expect(m.lapics.readMsr(0, x2apic('APIC_TASKPRI'))).toBe(0n);
    expect(m.lapics.readMsr(0, x2apic('APIC_ARBPRI'))).toBe('fault');
    expect(m.lapics.readMsr(0, x2apic('APIC_PROCPRI'))).toBe(0n);
  });

  it('has x2APIC mode when shown, and only then', () => {
    expect(machine().lapics.writeMsr(0, MSR_APIC_BASE, X2APIC_MODE)).toBe('fault');
    const m = machine({ x2apic: true });
    m.enable();
    expect(m.lapics.readMsr(0, x2apic('APIC_ID'))).toBe('fault');
    expect(m.lapics.writeMsr(0, MSR_APIC_BASE, X2APIC_MODE)).toBe('done');
    expect(m.lapics.check(gpa(0xfee00000), 0)).toBe(false);
    expect(m.lapics.readMsr(0, x2apic('APIC_LDR'))).toBe(1n);
    expect(m.lapics.writeMsr(0, x2apic('APIC_LDR'), 1n)).toBe('fault');
    expect(m.lapics.writeMsr(0, MSR_X2APIC + SELF_IPI / 16, 0x44n)).toBe('done');
    expect(take(m.lapics)).toBe(0x44);
    expect(m.lapics.writeMsr(0, x2apic('APIC_EOI'), 1n)).toBe('fault');
    expect(m.lapics.writeMsr(0, x2apic('APIC_EOI'), 0n)).toBe('done');
    expect(m.lapics.writeMsr(0, x2apic('APIC_ICR'), 0x55n)).toBe('done');
    expect(take(m.lapics)).toBe(0x55);
    expect(m.lapics.readMsr(0, x2apic('APIC_ICR'))).toBe(0x55n);
    expect(m.lapics.writeMsr(0, x2apic('APIC_TASKPRI'), 0x100n)).toBe('fault');
    // What Linux writes when it hands LINT0 back to the 8259s: read-only bits of an LVT entry are no fault, reserved ones are.
    expect(m.lapics.writeMsr(0, x2apic('APIC_LVT0'), 0x5700n)).toBe('done');
    expect(m.lapics.writeMsr(0, x2apic('APIC_LVT0'), 0x20000n)).toBe('fault');
    expect(m.lapics.writeMsr(0, MSR_APIC_BASE, XAPIC_MODE)).toBe('fault');
    expect(m.lapics.writeMsr(0, MSR_APIC_BASE, APIC_OFF)).toBe('done');
    expect(m.lapics.readMsr(0, MSR_X2APIC + 0x100)).toBeUndefined();
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.enable();
    m.write('APIC_LVTT', { timer: 'periodic', vector: 0x31 });
    m.write('APIC_TMICT', 10_000);
    m.lapics.setIrq(0, 0x99, true);
    m.advance(70_000);
    const copy = MachineMemory.create({ frames: 16, maxGfn: 16 });
    copy.u8.set(m.memory.u8);
    const clock = new VirtualClock();
    clock.skipTo(m.clock.nowNs());
    const n = machine({}, copy, clock);
    for (const x of [m, n]) {
      expect(x.read('APIC_TMCCT')).toBe(6500);
      expect(take(x.lapics)).toBe(0x99);
      x.eoi();
      x.advance(130_000);
      expect(take(x.lapics)).toBe(0x31);
    }
  });
});
