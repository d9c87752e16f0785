import { describe, expect, it } from 'vitest';
import { gfn } from '../../base/address.ts';
import { Reg, Seg } from '../../cpu/interface.ts';
import { POISON } from '../mm/page-alloc.ts';
import { P2mType } from '../mm/p2m.ts';
import type { FakeVcpu } from '../testing/fake-vcpu.ts';
import type { GuestFault } from '../testing/fake-vcpu.ts';
import { bindVirq, setParam, shutdown, TestMachine } from '../testing/machine.ts';

const DOMID_SELF = 0x7ff0;

/** Run a guest that collects results, then powers off. */
function collect(
  program: (v: FakeVcpu, put: (...values: unknown[]) => void) => Generator<number, void, void>,
  machine = new TestMachine(),
): { results: unknown[]; machine: TestMachine } {
  const results: unknown[] = [];
  machine.run(function* (v) {
    yield* program(v, (...values) => void results.push(...values));
    yield* shutdown(v);
  });
  expect(machine.domain.shutdownReason).toBe(0);
  return { results, machine };
}

/** Write consecutive 64-bit words at a guest address. */
function* words(v: FakeVcpu, at: number, ...values: number[]): Generator<number, void, void> {
  for (const [i, value] of values.entries()) yield* v.write(at + i * 8, 8, value >>> 0, Math.floor(value / 2 ** 32));
}

const bytesAt = (machine: TestMachine, gpa: number, length: number): Uint8Array => {
  const out = new Uint8Array(length);
  machine.hvm.guest.copyFromPhys(gpa as never, out);
  return out;
};
const u64 = (machine: TestMachine, gpa: number): bigint => new DataView(bytesAt(machine, gpa, 8).buffer).getBigUint64(0, true);

describe('hypercalls', () => {
  it("answer what is not there with ENOSYS, the toolstack's with EPERM, and nobody but the kernel", () => {
    const { results } = collect(function* (v, put) {
      for (const number of [0, 1, 14, 26, 27, 33, 39, 40, 42, 63, 1000, 0xffffffff]) put(yield* v.hypercall(number));
      for (const number of [35, 36, 41]) put(yield* v.hypercall(number));
      v.registers.cpl = 3;
      put(yield* v.hypercall(17, 0));
      v.registers.cpl = 0;
    });
    expect(results).toEqual([...new Array<number>(12).fill(-38), -1, -1, -1, -1]);
  });

  it('refuse FIFO event channels: init_control with EINVAL, expand_array with EOPNOTSUPP; set_priority is not there without them', () => {
    const EVENT_CHANNEL_OP = 32;
    const { results } = collect(function* (v, put) {
      for (const op of [11, 12, 13]) put(yield* v.hypercall(EVENT_CHANNEL_OP, op, 0x3000));
      put(yield* v.hypercall(EVENT_CHANNEL_OP, 99, 0x3000));
    });
    expect(results).toEqual([-22, -95, -38, -38]);
  });

  it('tell version and features: 8 and 9 shown, 10 hidden; strings are padded with zeroes', () => {
    const { results, machine } = collect(function* (v, put) {
      put(yield* v.hypercall(17, 0));
      yield* words(v, 0x1000, 0);
      put(yield* v.hypercall(17, 6, 0x1000), (yield* v.read(0x1004, 4)).lo);
      yield* v.write(0x1000, 4, 2);
      put(yield* v.hypercall(17, 6, 0x1000));
      for (let i = 0; i < 64; i++) yield* v.write(0x1100 + i * 8, 8, 0xffffffff, 0xffffffff);
      put(yield* v.hypercall(17, 1, 0x1100), yield* v.hypercall(17, 7), yield* v.hypercall(17, 3, 0xfff_ffff_f000));
    });
    expect(results.slice(0, 3)).toEqual([0x4_0011, 0, (1 << 0) | (1 << 2) | (1 << 8) | (1 << 9) | (1 << 13) | (1 << 16)]);
    expect(results.slice(3)).toEqual([-22, 0, 4096, -14]);
    const text = bytesAt(machine, 0x1100, 17);
    expect(String.fromCharCode(...text.slice(0, 9))).toBe('.xenolith');
    expect([...text.slice(9)]).toEqual([0, 0, 0, 0, 0, 0, 0, 255]);
  });

  it('put shared_info where the guest wants it, with time and wall clock, and free what lay there', () => {
    const machine = new TestMachine();
    const before = machine.p2m.getMfn(gfn(0x50));
    collect(function* (v, put) {
      yield* words(v, 0x1000, DOMID_SELF, 0, 0x50);
      put(yield* v.hypercall(12, 7, 0x1000));
      yield* words(v, 0x1000, DOMID_SELF, 0, 0x60);
      put(yield* v.hypercall(12, 7, 0x1000));
    }, machine);
    expect(machine.p2m.getMfn(gfn(0x60))).toBe(machine.domain.sharedInfoMfn);
    expect(machine.p2m.lookup(gfn(0x50))).toBe(0);
    expect(machine.memory.u8[before * 4096]).toBe(POISON);
    const info = bytesAt(machine, 0x60000 + 32, 32);
    const view = new DataView(info.buffer);
    expect(view.getUint32(0, true) % 2).toBe(0);
    // One tick is one nanosecond: (1 << 1) · 2^31 >> 32.
    expect([view.getUint32(24, true), view.getInt8(28), view.getUint8(29)]).toEqual([0x8000_0000, 1, 1]);
    const wallclock = new DataView(bytesAt(machine, 0x60000 + 2048 + 1024, 12).buffer);
    expect([wallclock.getUint32(0, true) % 2, wallclock.getUint32(4, true)]).toEqual([0, 1_704_067_200]);
  });

  it('register vcpu_info and runstate areas, and refuse bad ones', () => {
    const { results, machine } = collect(function* (v, put) {
      yield* words(v, 0x1000, 0x70, 64);
      put(yield* v.hypercall(24, 10, 0, 0x1000), yield* v.hypercall(24, 10, 0, 0x1000), yield* v.hypercall(24, 10, 5, 0x1000));
      yield* words(v, 0x1000, 0x71_000);
      put(yield* v.hypercall(24, 5, 0, 0x1000));
      yield* words(v, 0x1000, 0xfffff, 64);
      put(yield* v.hypercall(24, 3, 0), yield* v.hypercall(24, 99, 0));
    });
    expect(results).toEqual([0, -22, -2, 0, 1, -38]);
    expect(machine.domain.vcpus[0]!.vcpuInfo).toBe(machine.p2m.getMfn(gfn(0x70)) * 4096 + 64);
    // An upcall is raised at the new place, for what may have been missed.
    expect(bytesAt(machine, 0x70040, 1)[0]).toBe(1);
    const runstate = new DataView(bytesAt(machine, 0x71000, 48).buffer);
    expect(runstate.getUint32(0, true)).toBe(0);
    expect(runstate.getBigUint64(16, true)).toBeGreaterThan(0n);
  });

  it('run timers: one-shot, periodic, and ETIME for what is past', () => {
    const machine = new TestMachine();
    const { results } = collect(function* (v, put) {
      yield* bindVirq(v, 0, 0);
      yield* setParam(v, 0, 0xf3, 2 << 24);
      v.onInterrupt = () => machine.clearGuestEvents();
      yield* words(v, 0x1000, 5, 1);
      put(yield* v.hypercall(24, 8, 0, 0x1000));
      yield* words(v, 0x1000, machine.clock.nowNs() + 1e6, 0);
      put(yield* v.hypercall(24, 8, 0, 0x1000));
      yield* v.hlt();
      yield* v.spin(1);
      put(v.delivered.length, machine.clock.nowNs() > 1e6);
      yield* words(v, 0x1000, 999_999);
      put(yield* v.hypercall(24, 6, 0, 0x1000));
      yield* words(v, 0x1000, 2e6);
      put(yield* v.hypercall(24, 6, 0, 0x1000));
      for (let i = 0; i < 3; i++) {
        yield* v.hlt();
        yield* v.spin(1);
      }
      put(v.delivered.length, yield* v.hypercall(24, 7, 0));
    }, machine);
    expect(results).toEqual([-62, 0, 1, true, -22, 0, 4, 0]);
  });

  it('poll for an event or a time', () => {
    const machine = new TestMachine();
    const { results } = collect(function* (v, put) {
      const port = yield* bindVirq(v, 0, 0);
      yield* v.write(0x1100, 4, port);
      yield* words(v, 0x1000, 0x1100, 1, machine.clock.nowNs() + 5e6);
      const before = machine.clock.nowNs();
      put(yield* v.hypercall(29, 3, 0x1000));
      yield* v.spin(1);
      put(Math.round((machine.clock.nowNs() - before) / 1e6));
      yield* v.write(0x1100, 4, 4095);
      put(yield* v.hypercall(29, 3, 0x1000));
      yield* words(v, 0x1000, 0x1100, 1000, 0);
      put(yield* v.hypercall(29, 3, 0x1000), yield* v.hypercall(29, 0), yield* v.hypercall(29, 4), yield* v.hypercall(29, 77));
    }, machine);
    expect(results).toEqual([0, 5, -22, -22, 0, -1, -38]);
  });

  it('give memory back, with INVALIDATE to the device model before the frame can be used again', () => {
    const machine = new TestMachine();
    const frame = machine.p2m.getMfn(gfn(0x80));
    const mapped = new Int32Array(1);
    machine.hypercalls.foreignMap(gfn(0x80), 1, mapped);
    let ownerAtInvalidate = -1;
    machine.onRequest = (p) => {
      if (p.type === 8) ownerAtInvalidate = machine.pages.owner(frame);
    };
    const { results } = collect(function* (v, put) {
      yield* words(v, 0x1100, 0x80, 0x81, 0xdead);
      yield* words(v, 0x1000, 0x1100, 3, 0, DOMID_SELF);
      put(yield* v.hypercall(12, 1, 0x1000));
      yield* words(v, 0x1000, 0x1100, 2, 0, DOMID_SELF);
      put(yield* v.hypercall(12, 6, 0x1000));
      yield* words(v, 0x1000, DOMID_SELF);
      put(yield* v.hypercall(12, 3, 0x1000));
      yield* words(v, 0x1000, 0x1100, 1, 0, 5);
      put(yield* v.hypercall(12, 1, 0x1000), yield* v.hypercall(12, 50, 0x1000));
    }, machine);
    expect(results).toEqual([2, 2, 0xa0 + 0x300, 0, -38]);
    expect(machine.requestLines).toEqual(['invalidate w 0 4 x0 = ffffffffffffffff']);
    expect(ownerAtInvalidate).toBe(1);
    expect(machine.memory.u8[frame * 4096]).not.toBe(POISON);
    machine.hypercalls.foreignUnmap(gfn(0x80), 1, mapped);
    expect(machine.memory.u8[frame * 4096]).toBe(POISON);
  });

  it('give the memory map, the grant table, the console and parameters', () => {
    const { results, machine } = collect(function* (v, put) {
      yield* words(v, 0x1000, 10, 0x1100);
      put(yield* v.hypercall(12, 9, 0x1000), (yield* v.read(0x1000, 4)).lo);
      yield* words(v, 0x1000, 1, 0x1100);
      put(yield* v.hypercall(12, 9, 0x1000), (yield* v.read(0x1000, 4)).lo);
      yield* words(v, 0x1000, DOMID_SELF, 0);
      put(yield* v.hypercall(20, 6, 0x1000, 1), (yield* v.read(0x1008, 4)).lo);
      yield* words(v, 0x1000, DOMID_SELF + 2 ** 32, 3, 0x90);
      put(yield* v.hypercall(12, 7, 0x1000));
      yield* v.write(0x1200, 4, 0x0a216968);
      put(
        yield* v.hypercall(18, 0, 4, 0x1200),
        yield* v.hypercall(18, 0, 0xfffffffe, 0x1200),
        yield* v.hypercall(18, 1, 1, 0x1200),
      );
      put(yield* setParam(v, 0, 0x20, 0), yield* setParam(v, 5, 1, 0), yield* setParam(v, 39, 1, 0));
      yield* v.write(0xa04, 4, 1);
      put(yield* v.hypercall(34, 1, 0xa00), yield* v.hypercall(34, 9, 0xa00));
    });
    expect(results).toEqual([0, 2, 0, 1, 0, 64, 0, 0, -7, -38, 0, -1, -22, 0, -38]);
    expect(String.fromCharCode(...machine.console)).toBe('hi!\n');
    expect(u64(machine, 0x1100 + 20)).toBe(0x100000n);
    expect(machine.p2m.getType(gfn(0x90))).toBe(P2mType.ramRw);
  });

  it('tell parameters that nobody set as zero, those of a PV console among them', () => {
    const { results } = collect(function* (v, put) {
      for (const index of [17, 18, 1]) {
        yield* words(v, 0x1000, DOMID_SELF + index * 2 ** 32, 0x55 + 0x66 * 2 ** 32);
        put(yield* v.hypercall(34, 1, 0x1000), (yield* v.read(0x1008, 4)).lo, (yield* v.read(0x100c, 4)).lo);
      }
    });
    expect(results).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('take many at once, but no multicall in a multicall', () => {
    const { results } = collect(function* (v, put) {
      yield* words(v, 0x1000, 17, 0x55, 7, 0, 0, 0, 0, 0);
      yield* words(v, 0x1040, 13, 0x55, 0x1000, 1, 0, 0, 0, 0);
      put(yield* v.hypercall(13, 0x1000, 2), (yield* v.read(0x1008, 4)).lo, (yield* v.read(0x1048, 4)).lo | 0);
      put(yield* v.hypercall(13, 0x1000, 0xffffffff));
    });
    // A list that runs out of memory ends there, however many entries it is said to have.
    expect(results).toEqual([0, 4096, -38, -14]);
  });

  it('go on where they were when they are long: every frame is done, every byte written, and the pCPU had its turns between', () => {
    const machine = new TestMachine({ memory: { frames: 4096 } });
    const free = machine.pages.freeFrames;
    let turns = 0;
    const { results } = collect(function* (v, put) {
      const counted = function* (...args: [number, ...number[]]): Generator<number, number, void> {
        const call = v.hypercall(...args);
        for (let step = call.next(); ; step = call.next()) {
          if (step.done) return step.value;
          turns++;
          yield step.value;
        }
      };
      for (let i = 0; i < 5; i++) yield* v.write(0x10000 + i * 8, 8, 0x10000 + i * 512);
      yield* words(v, 0x1000, 0x10000, 5, 9, DOMID_SELF);
      put(yield* counted(12, 6, 0x1000), free - machine.pages.freeFrames);
      // The same back, in a multicall whose next call waits for it.
      yield* words(v, 0x2000, 12, 0x55, 1, 0x1000, 0, 0, 0, 0);
      yield* words(v, 0x2040, 17, 0x55, 7, 0, 0, 0, 0, 0);
      put(
        yield* counted(13, 0x2000, 2),
        (yield* v.read(0x2008, 4)).lo,
        (yield* v.read(0x2048, 4)).lo,
        free - machine.pages.freeFrames,
      );
      put(turns);
      yield* words(v, 0x1000, 0x10000, 2 ** 27, 0, DOMID_SELF);
      put(yield* v.hypercall(12, 1, 0x1000));
      turns = 0;
      put(yield* counted(18, 0, 40_000, 0x10000), machine.console.length, turns);
      turns = 0;
      for (let i = 0; i < 40; i++) yield* words(v, 0x3000 + i * 64, 17, 0x55, 7, 0, 0, 0, 0, 0);
      put(yield* counted(13, 0x3000, 40), (yield* v.read(0x3008, 4)).lo, (yield* v.read(0x3008 + 39 * 64, 4)).lo, turns);
    }, machine);
    expect(results).toEqual([5, 2560, 0, 5, 4096, 0, 6, 0, 0, 40_000, 3, 0, 4096, 4096, 3]);
  });

  it('refuse parameters as Xen does', () => {
    const { results } = collect(function* (v, put) {
      for (const index of [2, 18, 34, 35, 24, 26, 5, 12, 39]) put(yield* setParam(v, index, 1, 0));
      for (const index of [35, 24, 5]) {
        yield* v.write(0xa04, 4, index);
        put(yield* v.hypercall(34, 1, 0xa00));
      }
      for (const domid of [0, 9]) {
        yield* words(v, 0xa00, domid);
        put(yield* v.hypercall(34, 1, 0xa00));
      }
    });
    expect(results).toEqual([0, 0, 0, -17, -22, -22, -1, -1, -22, 0, -22, -1, -1, -3]);
  });

  it('answer what there is of grant tables', () => {
    const { results } = collect(function* (v, put) {
      for (const version of [1, 2, 3]) {
        yield* v.write(0x1000, 4, version);
        put(yield* v.hypercall(20, 8, 0x1000, 1), (yield* v.read(0x1000, 4)).lo);
      }
      yield* words(v, 0x1000, DOMID_SELF);
      put(yield* v.hypercall(20, 10, 0x1000, 1), (yield* v.read(0x1004, 4)).lo);
      yield* words(v, 0x1000, 9);
      put(yield* v.hypercall(20, 10, 0x1000, 1), yield* v.hypercall(20, 0, 0x1000, 1), yield* v.hypercall(20, 8, -8, 1));
    });
    expect(results).toEqual([0, 1, -38, 1, -22, 1, 0, 1, -1, -38, -14]);
  });

  it('set_timer far away or before time comes in 100 ms; periods have an upper end', () => {
    const { results } = collect(function* (v, put) {
      for (const timeout of [-5, 2 ** 62, 2 ** 52]) {
        put(yield* v.hypercall(15, timeout));
      }
      for (const period of [999_999, 2 ** 62, 2 ** 63]) {
        yield* v.write(0x1000, 8, period % 2 ** 32, Math.floor(period / 2 ** 32));
        put(yield* v.hypercall(24, 6, 0, 0x1000));
      }
    });
    expect(results).toEqual([0, 0, 0, -22, -22, -22]);
  });

  it('serve 32-bit callers with their own layouts and clean halves', () => {
    const { results, machine } = collect(function* (v, put) {
      v.registers.setSegment(Seg.cs, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xc09b });
      v.registers.setGprHalves(Reg.rbx, 7, 0xdeadbeef);
      v.registers.setGprHalves(Reg.rcx, 0x1000, 0xdeadbeef);
      yield* v.write(0x1000, 8, DOMID_SELF, 0);
      yield* v.write(0x1008, 8, 0, 0x66);
      v.registers.setGprHalves(Reg.rax, 12, 0);
      yield* v.instruction(18);
      put(v.registers.getGpr(Reg.rax));
      v.registers.setSegment(Seg.cs, { selector: 8, base: 0n, limit: 0xffffffff, accessRights: 0xa09b });
    });
    expect(results).toEqual([0n]);
    expect([machine.p2m.getMfn(gfn(0x66)), machine.domain.compatSharedInfo]).toEqual([machine.domain.sharedInfoMfn, true]);
  });

  it('have a page of stubs, written where the guest asks', () => {
    const { results, machine } = collect(function* (v, put) {
      const leaf = yield* v.cpuid(0x40000002);
      put(leaf.a, leaf.b);
      yield* v.wrmsr(leaf.b, 0x77000n);
      for (const bad of [0x77001n, 0x7_0000_0000n]) {
        try {
          yield* v.wrmsr(leaf.b, bad);
        } catch (fault) {
          put((fault as GuestFault).vector);
        }
      }
    });
    expect(results).toEqual([1, 0x40000000, 13, 13]);
    expect([...bytesAt(machine, 0x77000 + 29 * 32, 9)]).toEqual([0xb8, 29, 0, 0, 0, 0x0f, 0x01, 0xc1, 0xc3]);
    expect([...bytesAt(machine, 0x77000 + 23 * 32, 2)]).toEqual([0x0f, 0x0b]);
  });
});

describe('CPUID', () => {
  it('shows Xen and its features', () => {
    const { results } = collect(function* (v, put) {
      const base = yield* v.cpuid(0x40000000);
      put(
        base.a,
        [base.b, base.c, base.d].map((w) => String.fromCharCode(w & 255, (w >> 8) & 255, (w >> 16) & 255, w >>> 24)).join(''),
      );
      put(
        (yield* v.cpuid(0x40000001)).a,
        (yield* v.cpuid(0x40000004)).a,
        (yield* v.cpuid(0x40000004)).c,
        (yield* v.cpuid(0x40000003, 2)).a,
      );
      put((yield* v.cpuid(1)).c >>> 31, (yield* v.cpuid(0x12345)).a);
    });
    expect(results).toEqual([0x40000005, 'XenVMMXenVMM', 0x4_0011, 0x58, 1, 1_000_000, 1, 0]);
  });

  it('faults outside ring 0 where the guest asked for that', () => {
    const { results } = collect(function* (v, put) {
      const faults = function* (work: () => Generator<number, unknown, void>): Generator<number, void, void> {
        try {
          yield* work();
          put('fine');
        } catch (fault) {
          put(`#${(fault as GuestFault).vector}(${(fault as GuestFault).errorCode})`);
        }
      };
      put(((yield* v.rdmsr(0xce)) >> 31n) & 1n);
      v.registers.cpl = 3;
      yield* faults(() => v.cpuid(1));
      v.registers.cpl = 0;
      yield* faults(() => v.wrmsr(0x140, 2n));
      yield* v.wrmsr(0x140, 1n);
      put(yield* v.rdmsr(0x140));
      yield* faults(() => v.cpuid(1));
      v.registers.cpl = 3;
      yield* faults(() => v.cpuid(1));
      v.registers.cpl = 0;
    });
    expect(results).toEqual([1n, 'fine', '#13(0)', 1n, 'fine', '#13(0)']);
  });
});
