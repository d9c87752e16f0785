import { describe, expect, it } from 'vitest';
import { gfn, gfnToGpa } from '../../base/address.ts';
import { HvmParam, SpecialPage, specialPfn } from '../domain/hvm-params.ts';
import { GuestRam } from '../domain-builder/guest-ram.ts';
import type { FakeVcpu } from '../testing/fake-vcpu.ts';
import { setParam, shutdown, TestMachine } from '../testing/machine.ts';
import { connectPvConsole, OUT_SIZE, XenconsInterface as Ring } from './pv-console.ts';

const PAGE = gfnToGpa(gfn(specialPfn(SpecialPage.console)));
const EVENT_CHANNEL_OP = 32;
const HVM_OP = 34;

function* getParam(v: FakeVcpu, index: number): Generator<number, number[], void> {
  yield* v.write(0xa00, 4, 0x7ff0);
  yield* v.write(0xa04, 4, index);
  yield* v.write(0xa08, 8, 0xffffffff, 0xffffffff);
  const result = yield* v.hypercall(HVM_OP, 1, 0xa00);
  return [result, (yield* v.read(0xa08, 4)).lo, (yield* v.read(0xa0c, 4)).lo];
}

function* send(v: FakeVcpu, port: number): Generator<number, number, void> {
  yield* v.write(0xb00, 4, port);
  return yield* v.hypercall(EVENT_CHANNEL_OP, 4, 0xb00);
}

/** Writes text behind what is in the ring, as a frontend does. */
function* put(v: FakeVcpu, prod: number, text: string): Generator<number, number, void> {
  for (const [i, c] of [...text].entries()) yield* v.write(PAGE + Ring.out + ((prod + i) & (OUT_SIZE - 1)), 1, c.charCodeAt(0));
  const next = (prod + text.length) >>> 0;
  yield* v.write(PAGE + Ring.outProd, 4, next);
  return next;
}

function run(program: (v: FakeVcpu, port: number) => Generator<number, void, void>): { machine: TestMachine; console: string } {
  const machine = new TestMachine();
  machine.p2m.populate(gfn(specialPfn(SpecialPage.console)), 1);
  connectPvConsole(machine, machine.dom0);
  machine.run(function* (v) {
    yield* program(v, machine.domain.paramLo(HvmParam.consoleEvtchn));
    yield* shutdown(v);
  });
  expect(machine.domain.shutdownReason).toBe(0);
  return { machine, console: Buffer.from(machine.console).toString('latin1') };
}

describe('the console of a PVH guest', () => {
  it('is told by its HVM parameters, takes what the guest writes, and tells it that there is room', () => {
    const seen: unknown[] = [];
    const { console } = run(function* (v, port) {
      seen.push(yield* getParam(v, HvmParam.consolePfn), yield* getParam(v, HvmParam.consoleEvtchn));
      let prod = yield* put(v, 0, 'Xen PVH: ');
      seen.push(yield* send(v, port));
      prod = yield* put(v, prod, 'hello\n');
      seen.push(yield* send(v, port), (yield* v.read(PAGE + Ring.outCons, 4)).lo, prod);
    });
    expect(seen).toEqual([[0, specialPfn(SpecialPage.console), 0], [0, 3, 0], 0, 0, 15, 15]);
    expect(console).toBe('Xen PVH: hello\n');
  });

  it('lets its indices run over 2^32, and its ring round', () => {
    const { console } = run(function* (v, port) {
      const start = 0xffff_fffa;
      yield* v.write(PAGE + Ring.outCons, 4, start);
      let prod = yield* put(v, start, 'a whole line\n');
      yield* send(v, port);
      prod = yield* put(v, prod, 'x'.repeat(OUT_SIZE));
      yield* send(v, port);
    });
    expect(console).toBe(`a whole line\n${'x'.repeat(OUT_SIZE)}`);
  });

  it.each([
    ['more than the ring holds', 0, OUT_SIZE + 1],
    ['a producer behind the consumer', 10, 9],
    ['nothing', 77, 77],
  ])('%s is left alone', (_, cons, prod) => {
    const { machine, console } = run(function* (v, port) {
      yield* v.write(PAGE + Ring.outCons, 4, cons);
      yield* v.write(PAGE + Ring.outProd, 4, prod);
      yield* send(v, port);
    });
    expect(console).toBe('');
    const ram = new GuestRam(machine.memory, machine.p2m);
    expect(new DataView(ram.read(PAGE, 4096).buffer).getUint32(Ring.outCons, true)).toBe(cons);
  });

  it('is gone with its port or its page, and no other port is taken for it', () => {
    const { console } = run(function* (v, port) {
      yield* put(v, 0, 'lost');
      yield* setParam(v, HvmParam.consoleEvtchn, 0);
      yield* send(v, port);
      yield* setParam(v, HvmParam.consoleEvtchn, 4095);
      yield* send(v, 4095);
      yield* setParam(v, HvmParam.consoleEvtchn, port);
      // XENMEM_decrease_reservation of the console's page.
      yield* v.write(0xc00, 8, 0xd00);
      yield* v.write(0xc08, 8, 1);
      yield* v.write(0xc10, 4, 0);
      yield* v.write(0xc14, 4, 0);
      yield* v.write(0xc18, 4, 0x7ff0);
      yield* v.write(0xd00, 8, specialPfn(SpecialPage.console));
      expect(yield* v.hypercall(12, 1, 0xc00)).toBe(1);
      yield* send(v, port);
      yield* v.write(0xb00, 4, port);
      yield* v.hypercall(EVENT_CHANNEL_OP, 3, 0xb00);
      expect(yield* send(v, port)).toBe(-22);
    });
    expect(console).toBe('');
  });
});

it('a guest without it reads zero', () => {
  const machine = new TestMachine();
  const seen: unknown[] = [];
  machine.run(function* (v) {
    seen.push(yield* getParam(v, HvmParam.consolePfn), yield* getParam(v, HvmParam.consoleEvtchn));
    yield* shutdown(v);
  });
  expect(seen).toEqual([
    [0, 0, 0],
    [0, 0, 0],
  ]);
});
