import { describe, expect, it } from 'vitest';
import { gfn } from '../../base/address.ts';
import { VcpuState } from '../domain/domain.ts';
import { PGC_CODE, POISON } from '../mm/page-alloc.ts';
import { Shootdown } from '../mm/shootdown.ts';
import type { Guest } from '../testing/fake-vcpu.ts';
import { bindVirq, setParam, shutdown, TestMachine } from '../testing/machine.ts';

describe('the run loop', () => {
  it('delivers NMI, then the event vector, then PIC, then local APIC', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* bindVirq(v, 0, 0);
      yield* setParam(v, 0, 0xf3, 2 << 24);
      v.onInterrupt = (vector) => {
        if (vector === 0xf3) machine.clearGuestEvents();
      };
      machine.controllers.requested.push(0x51);
      machine.controllers.output = true;
      // Through a view of its own, as another thread asks for it.
      new VcpuState(machine.memory, 1, 0).nmiPending = true;
      machine.events.sendVirq(machine.domain, 0, 0);
      for (let i = 0; i < 8; i++) yield* v.cpuid(0);
      yield* shutdown(v);
    });
    expect(machine.engine.delivered).toEqual([2, 0xf3, 0x30, 0x51]);
  });

  it('asks for a window while the guest holds interrupts off', () => {
    const machine = new TestMachine();
    let windows = false;
    machine.run(function* (v) {
      v.registers.rflags = 2;
      machine.controllers.requested.push(0x51);
      yield* v.cpuid(0);
      windows = v.windowRequested;
      yield* v.cpuid(0);
      v.registers.rflags = 0x202;
      yield* v.cpuid(0);
      yield* shutdown(v);
    });
    expect([windows, machine.engine.delivered, machine.engine.windowRequested]).toEqual([true, [0x51], false]);
  });

  it('delivers upcalls by the vector the guest chose, and by a line', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* bindVirq(v, 0, 0);
      yield* v.write(0x1000, 8, 0, 0xf7);
      yield* v.hypercall(34, 23, 0x1000);
      machine.events.sendVirq(machine.domain, 0, 0);
      yield* v.cpuid(0);
      v.onInterrupt = () => machine.clearGuestEvents();
      yield* v.cpuid(0);
      yield* shutdown(v);
    });
    expect(machine.engine.delivered).toEqual([0xf7]);
    const line = new TestMachine();
    line.run(function* (v) {
      yield* bindVirq(v, 0, 0);
      yield* setParam(v, 0, 21, 0);
      line.events.sendVirq(line.domain, 0, 0);
      yield* v.cpuid(0);
      line.clearGuestEvents();
      yield* v.cpuid(0);
      yield* shutdown(v);
    });
    expect(line.controllers.edges).toEqual(['gsi 21']);
    expect(line.irq.gsiAssertCount(21)).toBe(0);
  });

  it('stops a guest that halts with interrupts off, and comes back when nothing can ever happen', () => {
    const halted = new TestMachine();
    expect(
      halted.run(function* (v) {
        v.registers.rflags = 2;
        yield* v.hlt();
      }),
    ).toBe('shutdown');
    expect(halted.domain.shutdownReason).toBe(0x80);
    const idle = new TestMachine();
    expect(
      idle.run(function* (v) {
        yield* v.hlt();
        yield* shutdown(v);
      }),
    ).toBe('idle');
    expect(idle.domain.shutdownReason).toBe(-1);
  });

  it('forgets the timeout of a poll that an event has ended', () => {
    const machine = new TestMachine();
    let polledNs = 0;
    const end = machine.run(function* (v) {
      const port = yield* bindVirq(v, 0, 0);
      yield* v.write(0x1100, 4, port);
      yield* v.write(0x1000, 8, 0x1100);
      yield* v.write(0x1008, 8, 1);
      const now = machine.clock.nowNs();
      yield* v.write(0x1010, 8, now + 5e6);
      yield* v.hypercall(15, now + 1e6);
      yield* v.hypercall(29, 3, 0x1000);
      yield* v.spin(1);
      polledNs = machine.clock.nowNs() - now;
      yield* v.hlt();
      yield* shutdown(v);
    });
    expect(polledNs).toBeLessThan(1.1e6);
    expect([end, machine.domain.shutdownReason]).toEqual(['idle', -1]);
  });

  it('comes back at the time asked for, and goes on from there', () => {
    const machine = new TestMachine();
    machine.engine.start(function* (v): Guest {
      yield* v.spin(1000);
      yield* shutdown(v) as Guest;
    });
    expect(machine.loop.run(50_000)).toBe('until');
    expect(machine.clock.nowNs()).toBeLessThan(52_000);
    expect(machine.loop.run()).toBe('shutdown');
  });

  it('reboots on a triple fault, with a dump', () => {
    const machine = new TestMachine();
    machine.run(function* () {
      yield 2;
    });
    expect(machine.domain.shutdownReason).toBe(1);
    expect(machine.log.join('\n')).toMatch(/Triple fault[\s\S]*RIP/);
  });

  it('lets the domain alone die of an access nobody can handle', () => {
    const machine = new TestMachine();
    machine.p2m.setEntry(gfn(0x30), machine.p2m.getMfn(gfn(0x30)), 10);
    machine.run(function* (v) {
      yield* v.write(0x30000, 4, 1);
      yield* shutdown(v);
    });
    expect(machine.domain.shutdownReason).toBe(3);
    expect(machine.log.join('\n')).toMatch(/EPT violation 0x182 \(-w-\/---\) gpa 0x30000 mfn 0x[0-9a-f]+ type 10/);
  });

  it('is the same run for every seed, and to the byte for the same one', () => {
    const trace = (seed: number) => {
      const machine = new TestMachine({ seed });
      machine.control.eventMask = 0x0ffff000;
      machine.run(function* (v) {
        for (let i = 0; i < 50; i++) {
          yield* v.write(0xf0000000 + i * 4, 4, i);
          yield* v.string({ kind: 'movs', size: 1, count: 9, source: 0x3ffc, destination: 0xf0000100 });
        }
        yield* shutdown(v);
      });
      return { file: machine.traceFile(), requests: machine.requestLines };
    };
    const [first, again, other] = [trace(1), trace(1), trace(2)];
    expect(Buffer.compare(first.file, again.file)).toBe(0);
    expect(other.requests).toEqual(first.requests);
    expect(Buffer.compare(first.file, other.file)).toBe(0);
  });
});

describe('shootdown', () => {
  it('reaches the engine before the guest runs again, whoever changed the p2m or wrote to code', () => {
    const machine = new TestMachine();
    const frame = machine.p2m.getMfn(gfn(9));
    Atomics.or(machine.memory.i32, machine.memory.frameEntry(frame) >>> 2, PGC_CODE);
    machine.run(function* (v) {
      machine.hypercalls.modifiedMemory(gfn(8), 2);
      new Shootdown(machine.memory, machine.domain.vcpus[0]!).queueNested(gfn(7));
      yield* v.cpuid(0);
      machine.p2m.changeType(gfn(3), 0, 2);
      yield* shutdown(v);
    });
    expect(machine.engine.codeInvalidated).toEqual([frame]);
    expect(machine.engine.invalidated).toEqual([7, 3]);
  });

  it('drops everything when more is queued than it can hold', () => {
    const machine = new TestMachine();
    const frame = machine.p2m.getMfn(gfn(9));
    Atomics.or(machine.memory.i32, machine.memory.frameEntry(frame) >>> 2, PGC_CODE);
    const remote = new Shootdown(machine.memory, machine.domain.vcpus[0]!);
    for (let i = 0; i < 100; i++) remote.queueNested(gfn(i));
    machine.hvm.shootdown.flush();
    expect([machine.engine.invalidated, machine.engine.codeInvalidated]).toEqual([[undefined], [frame]]);
  });
});

it('poisoned frames stay poisoned: nothing writes to memory it was not given', () => {
  const machine = new TestMachine();
  machine.pages.poisonFree();
  machine.run(function* (v) {
    yield* v.string({ kind: 'movs', size: 4, count: 64, source: 0xf0000000, destination: 0x2000 });
    yield* v.string({ kind: 'movs', size: 4, count: 64, source: 0xe0000000, destination: 0x4000 });
    yield* shutdown(v);
  });
  const { firstFrame, frameCount } = machine.memory.layout;
  let free = 0;
  for (let frame = firstFrame as number; frame < firstFrame + frameCount; frame++) {
    if (machine.pages.owner(frame as never) !== 0xffff) continue;
    free++;
    expect(machine.memory.frame(frame as never).every((byte) => byte === POISON)).toBe(true);
  }
  expect(free).toBe(machine.pages.freeFrames);
});
