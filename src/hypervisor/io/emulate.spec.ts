import { describe, expect, it } from 'vitest';
import { gfn } from '../../base/address.ts';
import { Emul } from './intercept.ts';
import { P2mType } from '../mm/p2m.ts';
import type { GuestFault } from '../testing/fake-vcpu.ts';
import { shutdown, TestMachine } from '../testing/machine.ts';

const BAR = 0xf000_0000;

describe('memory-mapped I/O', () => {
  it('sends one request for a plain access of 1, 2, 4 or 8 bytes', () => {
    const machine = new TestMachine();
    const got: number[] = [];
    machine.run(function* (v) {
      for (const size of [1, 2, 4, 8]) {
        const value = yield* v.read(BAR + 8, size);
        got.push(value.lo, value.hi);
        yield* v.write(BAR + 0x10, size, 0x9abcdef0, 0x12345678);
      }
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'mmio r f0000008 1',
      'mmio w f0000010 1 = f0',
      'mmio r f0000008 2',
      'mmio w f0000010 2 = def0',
      'mmio r f0000008 4',
      'mmio w f0000010 4 = 9abcdef0',
      'mmio r f0000008 8',
      'mmio w f0000010 8 = 123456789abcdef0',
    ]);
    expect(got).toEqual([0x11, 0, 0x2222, 0, 0x44444444, 0, 0x88888888, 0x88888888]);
  });

  it('cuts accesses of other sizes into 4, 2 and 1, as the parts of an access across a page end are', () => {
    const machine = new TestMachine({ answer: (p) => [0, 0xa1, 0xb2b1, 0, 0xd4d3d2d1][p.size]! });
    let seven = { lo: 0, hi: 0 };
    machine.run(function* (v) {
      seven = yield* v.read(BAR + 0xff9, 7);
      yield* v.write(BAR + 0x1000, 3, 0x00ccbbaa);
      yield* v.write(BAR + 0x1000, 6, 0x44332211, 0x6655);
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'mmio r f0000ff9 4',
      'mmio r f0000ffd 2',
      'mmio r f0000fff 1',
      'mmio w f0001000 2 = bbaa',
      'mmio w f0001002 1 = cc',
      'mmio w f0001000 4 = 44332211',
      'mmio w f0001004 2 = 6655',
    ]);
    expect([seven.lo, seven.hi]).toEqual([0xd4d3d2d1, 0xa1b2b1]);
  });

  it('takes a read-modify-write as a read and a write', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      const { lo } = yield* v.read(BAR, 4);
      yield* v.write(BAR, 4, lo | 1);
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual(['mmio r f0000000 4', 'mmio w f0000000 4 = 44444445']);
  });

  it('sends rep stos as one request a page, up and down', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* v.string({ kind: 'stos', size: 4, count: 1500, destination: BAR + 0x800, value: 7 });
      yield* v.string({ kind: 'stos', size: 2, count: 3, destination: BAR + 0x1002, value: 8, down: true });
      yield* v.string({ kind: 'stos', size: 4, count: 1, destination: BAR, value: 9 });
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'mmio w f0000800 4 x512 = 7',
      'mmio w f0001000 4 x988 = 7',
      'mmio w f0001002 2 x2 = 8 down',
      'mmio w f0000ffe 2 = 8',
      'mmio w f0000000 4 = 9',
    ]);
  });

  it('sends rep movs between device and RAM by guest-physical pointer, cut at page ends of both sides', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* v.string({ kind: 'movs', size: 4, count: 0x300, source: BAR, destination: 0x2800 });
      yield* v.string({ kind: 'movs', size: 4, count: 8, source: 0x5ff0, destination: BAR + 0x20 });
      yield* v.string({ kind: 'movs', size: 1, count: 4, source: 0x3001, destination: BAR + 0x103, down: true });
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'mmio r f0000000 4 x512 @2800',
      'mmio r f0000800 4 x256 @3000',
      'mmio w f0000020 4 x4 @5ff0',
      'mmio w f0000030 4 x4 @6000',
      'mmio w f0000103 1 x2 @3001 down',
      'mmio w f0000101 1 x2 @2fff down',
    ]);
  });

  it('moves device memory to device memory element by element', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* v.string({ kind: 'movs', size: 4, count: 2, source: BAR, destination: 0xa0000 });
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual(['mmio r f0000000 4', 'mmio r f0000004 4']);
    expect(machine.takeBuffered()).toEqual(['mmio w a0000 4 = 44444444', 'mmio w a0004 4 = 44444444']);
  });

  it('gives a page fault on the RAM side in the middle of a rep movs, after what went before is done', () => {
    const machine = new TestMachine();
    const faults: GuestFault[] = [];
    machine.engine.linear = (at) => (at >= 0x3000 && at < 0x4000 ? 'fault' : at);
    machine.run(function* (v) {
      try {
        yield* v.string({ kind: 'movs', size: 4, count: 8, source: BAR, destination: 0x2ff0 });
      } catch (fault) {
        faults.push(fault as GuestFault);
      }
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual(['mmio r f0000000 4 x4 @2ff0']);
    expect(faults.map((f) => f.vector)).toEqual([14]);
    expect(machine.engine.registers.cr2).toBe(0x3000n);
  });

  it('reads all ones and drops writes where nobody is, also by rep', () => {
    const machine = new TestMachine();
    let got = { lo: 0, hi: 0 };
    machine.run(function* (v) {
      got = yield* v.read(0xe000_0000, 8);
      yield* v.write(0xe000_0000, 4, 1);
      yield* v.string({ kind: 'movs', size: 4, count: 4, source: 0xe000_0000, destination: 0x2000 });
      yield* shutdown(v);
    });
    expect(machine.requests).toEqual([]);
    expect([got.lo, got.hi]).toEqual([0xffffffff, 0xffffffff]);
    const ram = new Uint8Array(20);
    machine.hvm.guest.copyFromPhys(0x2000 as never, ram);
    expect([...ram]).toEqual([...new Array<number>(16).fill(255), 0, 0, 0, 0]);
  });

  it('asks in-hypervisor devices first and cuts a batch to what they take', () => {
    const machine = new TestMachine();
    const seen: string[] = [];
    let taken = 0;
    machine.handlers.registerMmioHandler({
      name: 'counter',
      check: (at) => at >= 0xfee0_0000 && at < 0xfee0_1000,
      read: (access) => {
        access.lo = 0x1234_5678;
        seen.push(`r ${access.address.toString(16)} ${access.size}`);
        return Emul.okay;
      },
      write: (access) => {
        seen.push(`w ${access.address.toString(16)} ${access.size} ${access.lo.toString(16)}`);
        return taken++ % 2 ? Emul.retry : Emul.okay;
      },
    });
    let byte = { lo: 0, hi: 0 };
    machine.run(function* (v) {
      byte = yield* v.read(0xfee0_0020, 1);
      yield* v.string({ kind: 'stos', size: 2, count: 2, destination: 0xfee0_0010, value: 0x1ffff });
      yield* shutdown(v);
    });
    expect(byte.lo).toBe(0x78);
    expect(seen).toEqual(['r fee00020 1', 'w fee00010 2 ffff', 'w fee00012 2 ffff', 'w fee00012 2 ffff']);
    expect(machine.requests).toEqual([]);
  });

  it('kills the domain whose access runs out of an in-hypervisor device', () => {
    const machine = new TestMachine();
    machine.handlers.registerMmioHandler({
      name: 'tiny',
      check: (at) => at < 0xfed0_0004 && at >= 0xfed0_0000,
      read: () => Emul.okay,
      write: () => Emul.okay,
    });
    machine.run(function* (v) {
      yield* v.read(0xfed0_0000, 8);
      yield* shutdown(v);
    });
    expect(machine.domain.shutdownReason).toBe(3);
    expect(machine.log.join('\n')).toMatch(/runs out of tiny/);
  });

  it('refuses to fetch instructions from device memory, and drops writes to read-only memory', () => {
    const machine = new TestMachine();
    machine.p2m.setEntry(gfn(0x20), machine.p2m.getMfn(gfn(0x20)), P2mType.ramRo);
    const faults: number[] = [];
    machine.run(function* (v) {
      yield* v.write(0x20000, 4, 0x55);
      v.exit.qualification = 1 << 2;
      v.exit.gpa = BAR as never;
      try {
        yield 48;
      } catch (fault) {
        faults.push((fault as GuestFault).vector);
      }
      yield* shutdown(v);
    });
    expect(faults).toEqual([13]);
    expect(machine.memory.u8[machine.p2m.getMfn(gfn(0x20)) * 4096]).toBe(0);
    expect(machine.requests).toEqual([]);
  });

  it('lets a write to a log-dirty page through and notes it', () => {
    const machine = new TestMachine();
    machine.p2m.setLogDirty(true);
    machine.run(function* (v) {
      yield* v.write(0x5123, 1, 7);
      yield* shutdown(v);
    });
    expect(machine.p2m.cleanDirty()).toEqual([0, 5]);
    expect(machine.memory.u8[machine.p2m.getMfn(gfn(5)) * 4096 + 0x123]).toBe(7);
  });
});

describe('port I/O', () => {
  it('goes to the server that holds all its ports, else reads ones', () => {
    const machine = new TestMachine();
    const got: number[] = [];
    machine.run(function* (v) {
      for (const size of [1, 2, 4]) {
        got.push(yield* v.in(0x1010, size));
        yield* v.out(0x1020, size, 0xdeadbeef);
      }
      got.push(yield* v.in(0x10fe, 4), yield* v.in(0x80, 1));
      yield* v.out(0x80, 1, 1);
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'pio r 1010 1',
      'pio w 1020 1 = ef',
      'pio r 1010 2',
      'pio w 1020 2 = beef',
      'pio r 1010 4',
      'pio w 1020 4 = deadbeef',
    ]);
    expect(got).toEqual([0x11, 0x2222, 0x44444444, 0xffffffff, 0xff]);
  });

  it('sends rep ins and outs by pointer, cut at page ends; a single one carries its data', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* v.string({ kind: 'outs', size: 1, count: 20, source: 0x2ff0, port: 0x1000 });
      yield* v.string({ kind: 'ins', size: 4, count: 3, destination: 0x5000, port: 0x1004 });
      yield* v.write(0x6000, 2, 0xabcd);
      yield* v.string({ kind: 'outs', size: 2, count: 1, source: 0x6000, port: 0x1008 });
      yield* v.string({ kind: 'ins', size: 1, count: 1, destination: 0x7000, port: 0x1004 });
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'pio w 1000 1 x16 @2ff0',
      'pio w 1000 1 x4 @3000',
      'pio r 1004 4 x3 @5000',
      'pio w 1008 2 = abcd',
      'pio r 1004 1',
    ]);
    expect(machine.memory.u8[machine.p2m.getMfn(gfn(7)) * 4096]).toBe(0x11);
  });

  it('latches CF8 on four-byte writes only and turns CFC into a configuration request', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* v.out(0xcf8, 4, 0x8000_1810);
      yield* v.out(0xcf8, 2, 0);
      yield* v.in(0xcfe, 2);
      yield* v.out(0xcf8, 4, 0x8000_2000);
      yield* v.in(0xcfc, 4);
      yield* v.out(0xcf8, 4, 0x1810);
      yield* v.in(0xcfc, 1);
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual([
      'pio w cf8 4 = 80001810',
      'pio w cf8 2 = 0',
      'pci r 1800000012 2',
      'pio w cf8 4 = 80002000',
      'pio w cf8 4 = 1810',
      'pio r cfc 1',
    ]);
  });

  it('prints what is written to port 0xe9, by the line', () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      for (const byte of 'hi\u0001\n') yield* v.out(0xe9, 1, byte.charCodeAt(0));
      yield* shutdown(v);
    });
    expect(String.fromCharCode(...machine.console)).toBe('hi\n');
  });
});
