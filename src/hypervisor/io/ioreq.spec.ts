import { describe, expect, it } from 'vitest';
import {
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_SLOTS,
  BUFIOREQ_WRITE_POINTER,
  IOREQ_STATE_WORD,
  IOREQ_VP_EPORT,
  IOREQ_WRITE,
  newIoreq,
} from '../../abi/ioreq.ts';
import type { Maddr } from '../../base/address.ts';
import { Rangeset, rangesetSize } from './rangeset.ts';
import { MachineMemory } from '../mm/memory.ts';
import type { GuestFault } from '../testing/fake-vcpu.ts';
import { shutdown, TestMachine } from '../testing/machine.ts';

const BAR = 0xf000_0000;
const setState = (machine: TestMachine, slot: number, state: number): void => {
  const word = (slot + IOREQ_STATE_WORD) >>> 2;
  machine.memory.i32[word] = (machine.memory.i32[word]! & ~(15 << 16)) | (state << 16);
};

describe('the synchronous page', () => {
  const attempt = (machine: TestMachine): number | undefined => {
    let vector: number | undefined;
    machine.run(function* (v) {
      try {
        yield* v.write(BAR, 4, 1);
      } catch (fault) {
        vector = (fault as GuestFault).vector;
      }
      yield* shutdown(v);
    });
    return vector;
  };

  it('is not used when the slot is busy or its port is not the one Xen put there', () => {
    const busy = new TestMachine();
    setState(busy, busy.info.ioreqPage, 2);
    expect(attempt(busy)).toBe(13);
    expect(busy.log.join()).toMatch(/bad IO state 2/);
    const other = new TestMachine();
    other.memory.u32[(other.info.ioreqPage + IOREQ_VP_EPORT) >>> 2] = 77;
    expect(attempt(other)).toBe(13);
    expect(other.log.join()).toMatch(/bad event channel 77/);
    expect([busy.requests, other.requests]).toEqual([[], []]);
  });

  it('kills the domain whose emulator lets the state fall or makes one up', () => {
    for (const [states, message] of [
      [[2, 1], /transition 2 -> 1/],
      [[9], /state 9/],
      [[2, 2, 15], /state 15/],
    ] as const) {
      const machine = new TestMachine();
      const left: number[] = [...states];
      machine.serve = (slot) => {
        setState(machine, slot, left.shift() ?? 3);
        // It has more to do at once: it will be called again.
        machine.nextDeadlineNs = machine.clock.nowNs();
      };
      expect(attempt(machine)).toBeUndefined();
      expect(machine.domain.shutdownReason).toBe(3);
      expect(machine.log.join('\n')).toMatch(message);
      expect(machine.log.join('\n')).toMatch(/RIP: {4}0010/);
    }
  });

  it('gives all ones when the emulator dies over the request', () => {
    const machine = new TestMachine();
    machine.serve = (slot) => setState(machine, slot, 0);
    let got = { lo: 0, hi: 0 };
    machine.run(function* (v) {
      got = yield* v.read(BAR, 4);
      yield* shutdown(v);
    });
    expect(got.lo).toBe(0xffffffff);
  });

  it('leaves the vCPU asleep until the event comes, even when the state says ready before', () => {
    const machine = new TestMachine();
    machine.notifies = false;
    let turns = 0;
    machine.serve = (slot) => {
      turns++;
      setState(machine, slot, 3);
      machine.notifies = turns > 1;
      machine.nextDeadlineNs = turns > 1 ? Infinity : machine.clock.nowNs() + 5000;
    };
    machine.run(function* (v) {
      yield* v.write(BAR, 4, 1);
      yield* shutdown(v);
    });
    expect([turns, machine.domain.shutdownReason]).toEqual([2, 0]);
  });
});

describe('the buffered page', () => {
  it("takes single writes to the VGA hole and nothing else, in Xen's layout", () => {
    const machine = new TestMachine();
    machine.run(function* (v) {
      yield* v.write(0xb8000, 2, 0x0741);
      yield* v.write(0xa0010, 8, 0x11223344, 0x55667788);
      yield* v.read(0xb8000, 1);
      yield* v.string({ kind: 'stos', size: 2, count: 4, destination: 0xb8000, value: 0x20 });
      yield* v.write(BAR, 1, 1);
      yield* shutdown(v);
    });
    expect(machine.requestLines).toEqual(['mmio r b8000 1', 'mmio w b8000 2 x4 = 20', 'mmio w f0000000 1 = 1']);
    const page = machine.info.bufioreqPage;
    const slot = (i: number): number[] => [
      ...machine.memory.u8.slice(page + BUFIOREQ_SLOTS + i * 8, page + BUFIOREQ_SLOTS + i * 8 + 8),
    ];
    expect(machine.memory.u32[(page + BUFIOREQ_WRITE_POINTER) >>> 2]).toBe(3);
    // type 1; size code 1 in bits 3:2 of the second byte, address from bit 12.
    expect(slot(0)).toEqual([1, 0x04, 0x00, 0xb8, 0x41, 0x07, 0, 0]);
    expect(slot(1)).toEqual([1, 0x0c, 0x01, 0xa0, 0x44, 0x33, 0x22, 0x11]);
    expect(slot(2)).toEqual([1, 0x0c, 0x01, 0xa0, 0x88, 0x77, 0x66, 0x55]);
  });

  it('lets the guest go on with a stalled device model until it is full; then, and for a BAR, the guest waits', () => {
    const machine = new TestMachine();
    machine.deviceModelRuns = false;
    let written = 0;
    machine.run(function* (v) {
      for (; written < 600; written++) yield* v.write(0xb8000, 1, written);
      yield* shutdown(v);
    });
    expect(written).toBe(511);
    expect(machine.log.join()).toMatch(/does not answer/);
    const eight = new TestMachine();
    eight.deviceModelRuns = false;
    let quads = 0;
    eight.run(function* (v) {
      for (; quads < 600; quads++) yield* v.write(0xb8000, 8, quads);
      yield* shutdown(v);
    });
    expect(quads).toBe(255);
  });

  it('keeps both pointers small with atomic handling, and never writes past its slots whatever they hold', () => {
    const machine = new TestMachine();
    const { memory, info } = machine;
    const p = Object.assign(newIoreq(), { type: 1, addr: 0xb8000, size: 1, count: 1, dir: IOREQ_WRITE });
    memory.u32[(info.bufioreqPage + BUFIOREQ_READ_POINTER) >>> 2] = 1100;
    memory.u32[(info.bufioreqPage + BUFIOREQ_WRITE_POINTER) >>> 2] = 1200;
    expect(machine.servers.sendBuffered(machine.server, p)).toBe(true);
    expect([...memory.u32.slice(info.bufioreqPage >>> 2, (info.bufioreqPage >>> 2) + 2)]).toEqual([1100 - 1022, 1201 - 1022]);
    for (const [read, write, sent] of [
      [5, 3, false],
      [0xffff_fff0, 8, true],
      [0, 0xffff_ffff, false],
      [7, 7, true],
    ] as const) {
      memory.u32[(info.bufioreqPage + BUFIOREQ_READ_POINTER) >>> 2] = read;
      memory.u32[(info.bufioreqPage + BUFIOREQ_WRITE_POINTER) >>> 2] = write;
      expect(machine.servers.sendBuffered(machine.server, p)).toBe(sent);
    }
    expect(machine.memory.u8.slice(info.bufioreqPage + 8 + 511 * 8, info.bufioreqPage + 4096).every((b) => b === 0)).toBe(true);
  });
});

describe('ioreq servers', () => {
  it('are asked from the highest id down, enabled ones only, and must hold every byte', () => {
    const machine = new TestMachine();
    const { hypercalls, servers } = machine;
    const second = hypercalls.createIoreqServer(0);
    expect(second).toBe(1);
    expect(hypercalls.mapIoRange(second, 1, BAR + 0x1000, BAR + 0x10ff)).toBe(0);
    const p = Object.assign(newIoreq(), { type: 1, addr: BAR + 0x10f0, size: 4, count: 1 });
    expect(servers.select(p)).toBe(0);
    hypercalls.setIoreqServerState(second, true);
    expect(servers.select(p)).toBe(1);
    p.count = 5;
    expect(servers.select(p)).toBe(0);
    Object.assign(p, { df: true, count: 2 });
    expect(servers.select(p)).toBe(1);
    Object.assign(p, { df: false, addr: BAR + 0xf_fffc, count: 2 });
    expect(servers.select(p)).toBe(-1);
    expect(hypercalls.destroyIoreqServer(second)).toBe(0);
    expect(hypercalls.destroyIoreqServer(second)).toBe(-2);
  });

  it("refuse bad ranges, foreign ids, and more than Xen's numbers", () => {
    const { hypercalls } = new TestMachine();
    expect(hypercalls.mapIoRange(0, 1, 20, 10)).toBe(-22);
    expect(hypercalls.unmapIoRange(0, 1, 20, 10)).toBe(-22);
    expect(hypercalls.mapIoRange(0, 9 as 0, 1, 2)).toBe(-22);
    expect(hypercalls.mapIoRange(5, 0, 1, 2)).toBe(-2);
    expect(hypercalls.mapIoRange(0, 0, 0x1080, 0x1100)).toBe(-17);
    expect(hypercalls.unmapIoRange(0, 0, 0x1080, 0x1100)).toBe(-2);
    const server = hypercalls.createIoreqServer(2);
    for (let i = 0; i < 256; i++) expect(hypercalls.mapIoRange(server, 0, i * 4, i * 4 + 1)).toBe(0);
    expect(hypercalls.mapIoRange(server, 0, 0x8000, 0x8000)).toBe(-7);
    for (let i = 2; i < 8; i++) expect(hypercalls.createIoreqServer(0)).toBe(i);
    expect(hypercalls.createIoreqServer(0)).toBe(-28);
    expect(hypercalls.createIoreqServer(3)).toBe(-22);
  });

  it('hold their pages as long as they live', () => {
    const machine = new TestMachine();
    const frame = machine.info.ioreqPage / 4096;
    expect(machine.pages.owner(frame as never)).toBe(1);
    machine.hypercalls.destroyIoreqServer(0);
    expect(machine.pages.owner(frame as never)).toBe(0xffff);
  });
});

describe('range sets', () => {
  it('join what touches, split what is cut', () => {
    const memory = MachineMemory.create({ frames: 16, maxGfn: 16 });
    const set = new Rangeset(memory, memory.xenheap('set', rangesetSize(4)) as Maddr, 4);
    set.addRange(10, 19);
    set.addRange(30, 39);
    set.addRange(20, 29);
    expect([set.count, set.containsRange(10, 39), set.containsRange(9, 10)]).toEqual([1, true, false]);
    set.removeRange(15, 33);
    expect([set.count, set.containsRange(10, 14), set.containsRange(34, 39), set.overlapsRange(15, 33)]).toEqual([
      2,
      true,
      true,
      false,
    ]);
  });
});
