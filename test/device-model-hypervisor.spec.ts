/** Hypervisor and device model together, the guest a program of accesses: what neither room's own specs can show. */
import { withoutMachineFrame } from './machine-frame.ts';
import { describe, expect, it } from 'vitest';
import { DeviceModel } from '../src/device-model/device-model.ts';
import { DmLog } from '../src/device-model/log.ts';
import { setUpPci } from '../src/devices/testing/firmware.ts';
import type { FakeVcpu } from '../src/hypervisor/testing/fake-vcpu.ts';
import { shutdown, TestMachine } from '../src/hypervisor/testing/machine.ts';
import type { TestMachineOptions } from '../src/hypervisor/testing/machine.ts';
import { arpFrame, be16, parseIpv4, parseMac } from '../src/net/frame.ts';
import { PcapngWriter } from '../src/net/pcapng.ts';

const MAC = '00:16:3e:00:00:01';
const MMIO = 0xf000_0000;
const TX_RING = 0x10_0000;
const RX_RING = 0x10_0100;
const TX_BUFFER = 0x20_0802;
const RX_BUFFER = 0x30_0ff0;

function setUp(options: TestMachineOptions = {}) {
  const machine = new TestMachine({ ...options, memory: { frames: 4096, ...options.memory } });
  const { clock, hypercalls } = machine;
  const lines: string[] = [];
  const captured: Uint8Array[] = [];
  const text: string[] = [];
  const log = new DmLog({ form: 'trace', clock, pid: 1000, sink: (piece) => lines.push(...piece.trimEnd().split('\n')) });
  const pcap = new PcapngWriter({ clock, interfaces: ['vif1.0'], sink: (bytes) => captured.push(bytes) });
  const warnings: string[] = [];
  // The test machine's own server serves some of these addresses; it makes way.
  hypercalls.destroyIoreqServer(machine.server);
  const dm = new DeviceModel({
    memory: machine.memory.memory,
    hypercalls,
    clock,
    log,
    pcap,
    logger: { debug() {}, info() {}, warn: (message) => warnings.push(message) },
    nics: [{ model: 'rtl8139', mac: parseMac(MAC) }],
    wireLatencyNs: 20_000,
    console: (bytes) => text.push(new TextDecoder().decode(bytes)),
  });
  machine.deviceModel = dm;
  setUpPci(dm.pci);
  dm.start();
  const finish = () => {
    dm.flush();
    return { lines, console: text.join(''), pcap: Buffer.concat(captured), trace: machine.traceFile() };
  };
  return { machine, dm, warnings, finish };
}

function* words(v: FakeVcpu, gpa: number, ...values: number[]): Generator<number, void, void> {
  for (const [i, value] of values.entries()) yield* v.write(gpa + i * 4, 4, value);
}

/** Send an ARP request in C+ mode and wait, halted, for the reply's interrupt. */
function* arp(v: FakeVcpu, received: number[]): Generator<number, void, void> {
  const frame = arpFrame(
    'request',
    { mac: parseMac(MAC), ip: parseIpv4('10.0.2.15') },
    { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.2') },
    new Uint8Array(6).fill(255),
  );
  for (const [i, byte] of frame.entries()) yield* v.write(TX_BUFFER + i, 1, byte);
  yield* v.write(MMIO + 0x37, 1, 0x10);
  yield* v.write(MMIO + 0xe0, 2, 3);
  yield* words(v, TX_RING, 0xf0000000 + frame.length, 0, TX_BUFFER, 0);
  yield* words(v, RX_RING, 0xc0000600, 0, RX_BUFFER, 0);
  yield* words(v, MMIO + 0x20, TX_RING, 0);
  yield* words(v, MMIO + 0xe4, RX_RING, 0);
  yield* v.write(MMIO + 0x37, 1, 0x0c);
  yield* v.write(MMIO + 0x44, 4, 0xf60e);
  yield* v.write(MMIO + 0xd9, 1, 0x40);
  for (let tries = 0; tries < 1000 && (yield* v.read(RX_RING, 4)).lo >>> 31; tries++) yield* v.spin(5);
  for (let i = 0; i < 42; i++) received.push((yield* v.read(RX_BUFFER + i, 1)).lo);
}

describe('device model under the hypervisor', () => {
  it('serves a doorbell: ioreq out, DMA through the p2m, frame, reply into a buffer across two machine frames', () => {
    const { machine, finish, warnings } = setUp();
    const received: number[] = [];
    const end = machine.run(function* (v) {
      yield* arp(v, received);
      for (const c of 'done\n') yield* v.out(0x3f8, 1, c.charCodeAt(0));
      yield* shutdown(v);
    });
    const { lines, console, pcap } = finish();
    expect(end).toBe('shutdown');
    expect(warnings).toEqual([]);
    expect([be16(Uint8Array.from(received), 12), received[21]]).toEqual([0x0806, 2]);
    expect(received.slice(0, 6)).toEqual([...parseMac(MAC)]);
    expect(console).toBe('done\n');
    expect(machine.p2m.getMfn((RX_BUFFER >> 12) as never)! + 1).not.toBe(machine.p2m.getMfn(((RX_BUFFER >> 12) + 1) as never));
    expect(lines.filter((line) => line.includes('xen_remap_bucket')).map((line) => line.split(' ').at(-1))).toEqual([
      '0x1',
      '0x2',
      '0x3',
    ]);
    expect(lines.some((line) => line.includes('addr 0xc0d9 value 0x40 size 1'))).toBe(true);
    expect(pcap.length).toBeGreaterThan(200);
  });

  it('gives the same console, log and capture whichever machine frames the guest has', () => {
    const runs = [1, 2, 3].map((seed) => {
      const { machine, finish } = setUp({ seed });
      const received: number[] = [];
      machine.run(function* (v) {
        yield* arp(v, received);
        yield* shutdown(v);
      });
      return { received, ...finish(), frame: machine.p2m.getMfn((TX_RING >> 12) as never) };
    });
    expect(new Set(runs.map((run) => run.frame)).size).toBeGreaterThan(1);
    const log = ({ lines }: { lines: readonly string[] }): string => withoutMachineFrame(lines.join('\n'));
    for (const run of runs.slice(1)) {
      expect(run.received).toEqual(runs[0]!.received);
      expect(log(run)).toBe(log(runs[0]!));
      expect(run.pcap.equals(runs[0]!.pcap)).toBe(true);
    }
  });

  it('is the same to the byte in a second run: trace, log, capture', () => {
    const run = () => {
      const { machine, finish } = setUp();
      machine.control.eventMask = 0xfffffff;
      machine.run(function* (v) {
        yield* arp(v, []);
        yield* shutdown(v);
      });
      return finish();
    };
    const [a, b] = [run(), run()];
    expect(a.trace.length).toBeGreaterThan(1000);
    expect(Buffer.from(a.trace).equals(Buffer.from(b.trace))).toBe(true);
    expect(b.lines).toEqual(a.lines);
    expect(b.pcap.equals(a.pcap)).toBe(true);
  });

  it("takes buffered VGA writes before the next synchronous access, in order, past the ring's length", () => {
    const { machine, dm } = setUp();
    const seen: number[] = [];
    machine.run(function* (v) {
      for (let i = 0; i < 1200; i++) {
        yield* v.write(0xb8000 + (i % 2000) * 2, 2, 0x0700 | (0x20 + (i % 90)));
        if (i % 400 === 399) seen.push((yield* v.read(MMIO, 4)).lo, dm.server.counters.buffered);
      }
      yield* shutdown(v);
    });
    expect(dm.server.stopped).toBe(false);
    expect(seen.filter((_, i) => i % 2 === 0)).toEqual([0x003e1600, 0x003e1600, 0x003e1600]);
    const text = dm.vga.text().join('');
    expect(text.startsWith(Array.from({ length: 40 }, (_, i) => String.fromCharCode(0x20 + i)).join(''))).toBe(true);
  });

  it('powers off through PM1a control and reboots through port 0xcf9', () => {
    for (const [port, size, value, reason] of [
      [0xb004, 2, 0x2000, 0],
      [0xcf9, 1, 6, 1],
    ] as const) {
      const { machine } = setUp();
      const end = machine.run(function* (v) {
        yield* v.out(port, size, value);
        yield* v.spin(1000);
      });
      expect([end, machine.domain.shutdownReason]).toEqual(['shutdown', reason]);
    }
  });

  it('XENMEM_decrease_reservation of a page that the map cache holds: freed by INVALIDATE, not before; DMA there is lost after it', () => {
    const { machine, dm, warnings } = setUp();
    const gfn = RX_BUFFER >> 12;
    const received: number[] = [];
    const freed: number[] = [];
    let held = -1;
    let heldWhenInvalidated = -1;
    const end = machine.run(function* (v) {
      yield* arp(v, received);
      const frame = machine.p2m.getMfn(gfn as never);
      held = machine.pages.references(frame);
      const invalidate = dm.mapCache.invalidate.bind(dm.mapCache);
      dm.mapCache.invalidate = () => {
        heldWhenInvalidated = machine.pages.references(frame);
        invalidate();
      };
      const before = machine.pages.freeFrames;
      yield* v.write(0x1000, 8, gfn);
      yield* v.write(0x2000, 8, 0x1000); // extent_start
      yield* v.write(0x2008, 8, 1); // nr_extents
      yield* v.write(0x2010, 4, 0); // extent_order
      yield* v.write(0x2018, 4, 0x7ff0); // domid
      freed.push(yield* v.hypercall(12, 1, 0x2000), machine.pages.freeFrames - before, machine.pages.references(frame));
      // The descriptor still points there: the second reply's bytes on that page are lost, the rest arrives.
      yield* words(v, RX_RING, 0xc0000600, 0, RX_BUFFER, 0);
      yield* words(v, TX_RING, 0xf0000000 + 60, 0, TX_BUFFER, 0);
      yield* v.write(MMIO + 0xd9, 1, 0x40);
      for (let tries = 0; tries < 1000 && (yield* v.read(RX_RING, 4)).lo >>> 31; tries++) yield* v.spin(5);
      yield* shutdown(v);
    });
    expect([end, received[21], held, heldWhenInvalidated]).toEqual(['shutdown', 2, 2, 1]);
    expect(freed).toEqual([1, 1, 0]);
    expect(machine.p2m.getMfn(gfn as never)).toBe(-1);
    expect(dm.dma.counters.refused).toBeGreaterThan(0);
    expect(dm.nics[0]!.port.counters.received).toBe(2);
    expect(warnings).toEqual([]);
  });

  it("hostile rings: descriptors and buffers in holes, at the MMIO hole, at the NIC itself, past 4 GiB; no frame that is not the guest's changes", () => {
    const { machine, dm, warnings } = setUp();
    const { memory, pages } = machine;
    const free: number[] = [];
    for (let frame = 0; frame < 4096; frame++)
      if (memory.isRamFrame(frame as never) && pages.references(frame as never) === 0) free.push(frame);
    expect(free.length).toBeGreaterThan(500);
    for (const frame of free) memory.u8.fill(0xd7, frame * 4096, frame * 4096 + 4096);
    let seed = 12345;
    const random = (n: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * n);
    };
    const places = [
      0,
      0x9fff0,
      0xa0000,
      0xb8000,
      0xfff00,
      TX_RING,
      RX_RING,
      0x3ff000,
      0x3ffff0,
      0x400000,
      0xeffffff0,
      MMIO,
      MMIO + 0x80,
      0xfee00000,
      0xfffffff0,
      0x7ffffff0,
    ];
    const place = (): number => places[random(places.length)]! + random(16);
    const end = machine.run(function* (v) {
      yield* arp(v, []);
      for (let round = 0; round < 300; round++) {
        yield* words(v, MMIO + 0x20, place(), random(4) === 0 ? 1 + random(0xffffffff) : 0);
        yield* words(v, MMIO + 0xe4, place(), random(4) === 0 ? 1 + random(0xffffffff) : 0);
        for (const ring of [TX_RING, RX_RING]) {
          for (let i = 0; i < 4; i++)
            yield* words(
              v,
              ring + i * 16,
              (0x80000000 + random(0x80000000)) >>> 0,
              random(0x20000),
              place(),
              random(3) === 0 ? random(0x100000) : 0,
            );
        }
        if (random(3) === 0) yield* v.write(MMIO + 0x20, 4, TX_RING);
        if (random(3) === 0) yield* v.write(MMIO + 0xe4, 4, RX_RING);
        yield* v.write(MMIO + 0xd9, 1, 0x40);
        yield* v.spin(1);
        if (random(8) === 0) yield* v.write(MMIO + 0x37, 1, 0x1c);
        if (random(8) === 0) yield* words(v, MMIO + 0x10, place(), random(0x1000)); // tally dump
        yield* v.write(MMIO + 0xe0, 2, 3 | random(0x80));
        yield* v.write(MMIO + 0x37, 1, 0x0c);
      }
      yield* shutdown(v);
    });
    expect([end, dm.server.stopped, warnings]).toEqual(['shutdown', false, []]);
    expect(dm.dma.counters.refused).toBeGreaterThan(100);
    for (const frame of free)
      expect(
        memory.u8.subarray(frame * 4096, frame * 4096 + 4096).every((byte) => byte === 0xd7),
        `frame ${frame}`,
      ).toBe(true);
  });
});
