import { describe, expect, it } from 'vitest';
import { IoBuilder, type IoAccess } from './io.ts';
import { stagesOf } from './route.ts';
import { parseXenalyzeLine } from '../sources/xenalyze-text.ts';

/** Accesses of a text in xenalyze's form, times in microseconds: `12 x- d0v0 runstate_change …`. */
function accesses(text: string): IoAccess[] {
  const builder = new IoBuilder();
  const all: IoAccess[] = [];
  text
    .trim()
    .split('\n')
    .forEach((line, i) => {
      const [, us, rest] = /^\s*(\d+) (.*)$/.exec(line)!;
      const event = parseXenalyzeLine(`${(Number(us) / 1e6).toFixed(9)} ${rest}`, i + 1);
      expect(event, line).toBeDefined();
      all.push(...(builder.add(event!) ?? []));
    });
  return [...all, ...builder.finish()];
}

const at = (a: IoAccess): Record<string, number> =>
  Object.fromEntries(Object.entries(a.marks).flatMap(([k, m]) => ('timeNs' in m ? [[k, m.timeNs / 1000]] : [])));

describe('one access from its records', () => {
  it('a write: recorded before its wait', () => {
    const [a] = accesses(`
      0 x- d0v0 runstate_change d0v0 running->blocked
      10 -x d1v0 vmexit exit_reason EPT_VIOLATION eip ffffffff81000000
      10 -x d1v0 mmio_assist w gpa f10000d9 data 40
      11 -x d1v0 runstate_change d0v0 blocked->runnable
      11 -x d1v0 npf gpa f10000d9 q 182 mfn ffffffffffffffff t 4
      12 -x d1v0 runstate_change d1v0 running->offline
      13 x- d?v? runstate_change d0v0 runnable->running
      14 x- d0v0 hypercall  1 (mmu_update) 3 updates
      15 x- d0v0 hypercall 29
      16 x- d0v0 runstate_change d1v0 offline->runnable
      18 -x d?v? runstate_change d1v0 runnable->running
      19 -x d1v0 inj_virq vec 36  real
      20 -x d1v0 vmentry cycles 1 !`);
    expect(a).toMatchObject({
      dir: 'write',
      addr: 0xf10000d9,
      data: 0x40n,
      rip: 0xffffffff81000000n,
      exitReason: 'EPT_VIOLATION',
      unfinished: undefined,
      lost: undefined,
    });
    expect(at(a!)).toEqual({ exit: 10, notified: 11, blocked: 12, modelRuns: 13, woken: 16, resumed: 18, entry: 20 });
    expect(a!.marks.model).toEqual({ dom: 0, vcpu: 0 });
    expect([a!.hypercalls.total, a!.hypercalls.get(1)?.ref.at, a!.hypercalls.get(41)?.ref.at, a!.hypercalls.get(12)]).toEqual([
      2,
      8,
      9,
      undefined,
    ]);
    expect(stagesOf(a!)).toEqual({
      emulate: 1000,
      schedule: 2000,
      work: 3000,
      wake: 2000,
      enter: 2000,
      blocked: 6000,
      total: 10_000,
    });
  });

  it('interrupts stand with the access after them', () => {
    const [a, b] = accesses(`
      10 x d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      10 x d1v0 mmio_assist w gpa f10000d9 data 40
      19 x d1v0 inj_virq vec 36  real
      20 x d1v0 vmentry cycles 1 !
      30 x d1v0 inj_virq vec 243  real
      40 x d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      41 x d1v0 mmio_assist r gpa f100003e data 4
      50 x d1v0 vmentry cycles 1 !`);
    expect(a!.injected).toEqual([]);
    expect(b!.injected.map((x) => [x.vector, x.timeNs])).toEqual([
      [36, 19_000],
      [243, 30_000],
    ]);
  });

  it('a read: recorded when its answer is in, even on another pCPU', () => {
    const [a] = accesses(`
      10 -x d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      10 -x d1v0 npf gpa f100003e q 181 mfn ffffffffffffffff t 4
      12 -x d1v0 runstate_change d1v0 running->offline
      16 x- d0v0 runstate_change d1v0 offline->runnable
      18 x- d?v? runstate_change d1v0 runnable->running
      18 x- d1v0 mmio_assist r gpa f100003e data 5
      20 x- d1v0 vmentry cycles 1 !`);
    expect(a).toMatchObject({ dir: 'read', data: 5n, npf: { gpa: 0xf100003e, p2mType: 4 }, pcpus: { exit: 1, entry: 0 } });
    expect(at(a!)).toEqual({ exit: 10, blocked: 12, woken: 16, resumed: 18, entry: 20 });
  });

  it('the raw form hides the direction of a read', () => {
    const [a] = accesses(`
      10 x d1v0 vmexit exit_reason VMEXIT_IOIO eip 1000
      12 x d1v0 runstate_change d1v0 running->offline
      18 x d?v? runstate_change d1v0 runnable->running
      18 x d1v0 io_assist [ 3fa c2 ]
      20 x d1v0 vmentry`);
    expect(a).toMatchObject({ space: 'pio', dir: 'read', addr: 0x3fa, data: 0xc2n });
    expect(at(a!)).toEqual({ exit: 10, blocked: 12, resumed: 18, entry: 20 });
  });

  it('two accesses in one exit each keep their own wait', () => {
    const [read, write] = accesses(`
      10 x d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      11 x d1v0 runstate_change d1v0 running->offline
      13 x d?v? runstate_change d1v0 runnable->running
      13 x d1v0 mmio_assist r gpa f1000010 data 1
      14 x d1v0 mmio_assist w gpa f1000020 data 1
      15 x d1v0 runstate_change d1v0 running->offline
      17 x d?v? runstate_change d1v0 runnable->running
      18 x d1v0 vmentry cycles 1 !`);
    expect(at(read!)).toEqual({ exit: 10, blocked: 11, resumed: 13, entry: 18 });
    expect(at(write!)).toEqual({ exit: 10, blocked: 15, resumed: 17, entry: 18 });
  });

  it('blocked is not offline: HLT is no wait for a device model', () => {
    const [a] = accesses(`
      10 x d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      10 x d1v0 mmio_assist w gpa f1000020 data 1
      11 x d1v0 runstate_change d1v0 running->blocked
      13 x d?v? runstate_change d1v0 runnable->running
      18 x d1v0 vmentry cycles 1 !`);
    expect(at(a!)).toEqual({ exit: 10, entry: 18 });
  });

  it('another guest on the pCPU is not woken as a device model, nor its hypercalls counted', () => {
    const [a] = accesses(`
      10 x- d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      10 x- d1v0 mmio_assist w gpa f1000020 data 1
      11 x- d1v0 runstate_change d1v1 blocked->runnable
      12 x- d1v0 hypercall  1 (mmu_update) 3 updates
      18 x- d1v0 vmentry cycles 1 !`);
    expect(a!.marks.notified).toBeUndefined();
    expect(a!.hypercalls.total).toBe(0);
  });

  it('a loss in the middle, and a trace that ends, are said', () => {
    const all = accesses(`
      10 x- d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      10 x- d1v0 mmio_assist w gpa f1000020 data 1
      12 -x d0v0 lost_records count 7 d0v0 (cur d0v0) first_tsc 1
      18 x- d1v0 vmentry cycles 1 !
      20 x- d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      20 x- d1v0 mmio_assist w gpa f1000024 data 1
      30 x- d1v0 vmexit exit_reason EPT_VIOLATION eip 1000
      30 x- d1v0 mmio_assist w gpa f1000028 data 1`);
    expect(all.map((a) => [a.addr, a.lost?.count, a.unfinished])).toEqual([
      [0xf1000020, 7, undefined],
      [0xf1000024, undefined, 'next exit without an entry'],
      [0xf1000028, undefined, 'trace ends'],
    ]);
    expect(stagesOf(all[0]!).total).toBeUndefined();
    expect(all[1]!.lossBefore).toBe(true);
  });
});
