import { expect, it } from 'vitest';
import type { Guest } from '../testing/fake-vcpu.ts';
import { GuestFault } from '../testing/fake-vcpu.ts';
import { TestMachine } from '../testing/machine.ts';

/** A small generator with a seed, so that a failure repeats. */
function random(seed: number): (n: number) => number {
  let x = seed;
  return (n) => {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    return (x >>> 8) % n;
  };
}

/** Milliseconds of guest time each seed gets. */
const TURNS = 120;

const numbers = [12, 13, 15, 17, 18, 20, 21, 24, 29, 32, 34, 41, 0, 63];
const interesting = [
  0,
  1,
  2,
  7,
  0x7ff0,
  0xfff,
  0x1000,
  0x9f000,
  0xa0000,
  0xff000,
  0xfffff,
  0x100000,
  0x7fffffff,
  0x80000000,
  0xffffffff,
  2 ** 40,
  2 ** 52 - 1,
];

it.each([1, 2, 3, 4])(
  'whatever a guest passes to hypercalls, CPUID, MSRs, ports and devices, the host lives (seed %i)',
  (seed) => {
    const machine = new TestMachine({ memory: { xenheapSize: 0x200000 } });
    const r = random(seed * 7919);
    const value = (): number => (r(3) === 0 ? interesting[r(interesting.length)]! : r(3) === 0 ? r(0x7fffffff) : r(64));
    let calls = 0;
    machine.engine.start(function* (v): Guest {
      for (;;) {
        try {
          const at = r(4) === 0 ? value() : 0x2000 + r(0x100) * 8;
          for (let i = 0; i < 6; i++) yield* v.write(0x2000 + r(0x120) * 8, 8, value() >>> 0, r(5) === 0 ? value() >>> 0 : 0);
          v.registers.efer = r(8) === 0 ? 0x1 : 0x501;
          switch (r(10)) {
            case 0:
              yield* v.rdmsr(value() >>> 0);
              break;
            case 1:
              yield* v.wrmsr(r(2) ? 0x40000000 : value() >>> 0, BigInt(value()));
              break;
            case 2:
              yield* v.cpuid(r(2) ? 0x40000000 + r(8) : value() >>> 0, r(4));
              break;
            case 3:
              yield* v.string({
                kind: 'movs',
                size: 1 << r(4),
                count: 1 + r(300),
                source: r(2) ? 0xf0000000 + r(0x2000) : r(0x9f000),
                destination: r(2) ? 0xf0000000 + r(0x2000) : r(0x9f000),
                down: r(2) === 0,
              });
              break;
            case 4:
              yield* v.string({
                kind: r(2) ? 'ins' : 'outs',
                size: 1 << r(3),
                count: 1 + r(300),
                source: r(0x110000),
                destination: r(0x110000),
                port: r(0x10000),
              });
              break;
            default: {
              // Shutting down is the one thing that ends the test.
              const number = numbers[r(numbers.length)]!;
              const op = r(48);
              calls++;
              if (number === 29 && (op === 2 || op === 1 || op === 3)) break;
              yield* v.hypercall(number, number === 13 ? at : op, number === 13 ? r(3) : at, r(2) ? at : value(), value());
            }
          }
        } catch (fault) {
          if (!(fault instanceof GuestFault)) throw fault;
        }
        machine.clearGuestEvents();
      }
    });
    for (let turn = 0; turn < TURNS && machine.domain.shutdownReason < 0; turn++) {
      expect(['until', 'shutdown', 'idle']).toContain(machine.loop.run(machine.clock.nowNs() + 1e6));
    }
    expect(calls).toBeGreaterThan(20);
    // Whatever became of the guest, every lock is free and the machine can still be asked.
    expect(machine.memory.heldLocks).toEqual([]);
    expect(machine.hypercalls.nrVcpus()).toBe(1);
  },
);
