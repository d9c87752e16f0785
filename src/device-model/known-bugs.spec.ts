/**
 * Known bugs of device models' rings, ioreq pages and map caches: one test of its name each. What a hostile guest (or a
 * broken hypervisor) did, and the safe behaviour.
 */
import { describe, expect, it } from 'vitest';
import { IOREQ_SIZE, IoreqState, IoreqType } from '../abi/ioreq.ts';
import type { IoRegion } from '../devices/io-space.ts';
import { BUFFERED_PORT, VCPU_PORT } from './testing/fake-hypervisor.ts';
import { NIC_MMIO, setUp } from './testing/set-up.ts';

const TRAP = 0xe000_0000;

/** Registers at TRAP whose every access runs `action`: the moment at which another thread rewrites shared pages. */
function withTrap(
  action: (machine: ReturnType<typeof setUp>, offset: number) => void,
  options: Parameters<typeof setUp>[0] = {},
) {
  const machine = setUp(options);
  const seen: string[] = [];
  const region: IoRegion = {
    name: 'trap',
    size: 0x1000,
    widest: 4,
    read: (offset, size) => {
      seen.push(`r${size}@${offset}`);
      action(machine, offset);
      return 0x11223344;
    },
    write: (offset, size, value) => {
      seen.push(`w${size}@${offset}=${value.toString(16)}`);
      action(machine, offset);
    },
  };
  machine.dm.memory.add(region, TRAP);
  return { ...machine, seen };
}

const slotWord = (hv: { ioreqPage: number }, byte: number): number => (hv.ioreqPage + byte) >>> 2;

describe('shared rings and ioreq pages', () => {
  it('XSA-155 / CVE-2015-8550: a request rewritten while it is served is served as it was taken', () => {
    const { hv, seen } = withTrap(({ hv: h }) => {
      h.words[slotWord(h, 0)] = NIC_MMIO; // addr
      h.words[slotWord(h, 8)] = 0x7000; // data pointer
      h.words[slotWord(h, 16)] = 50; // count
      h.words[slotWord(h, 20)] = 8; // size
    });
    hv.poke(0x2000, [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    hv.access({ addr: TRAP, size: 4, count: 3, ptr: 0x2000, write: 0 });
    expect(seen).toEqual(['w4@0=1', 'w4@4=2', 'w4@8=3']);
  });

  it('XSA-155 / CVE-2015-8550: type and direction flipped while it is served change nothing', () => {
    const { hv, seen, dm } = withTrap(({ hv: h }) => {
      const at = slotWord(h, 28);
      h.words[at] = h.words[at]! & 0x00ffffff; // type becomes PIO
    });
    hv.post({ addr: TRAP, size: 4, count: 2, ptr: 0x2000 });
    hv.raise(VCPU_PORT);
    dm.runUntilIdle();
    expect(seen).toEqual(['r4@0', 'r4@4']);
  });

  it('XSA-197 / CVE-2016-9381: a buffered request rewritten after it was taken is served as it was taken', () => {
    const { hv, dm, clock } = setUp();
    hv.buffer(0xb8000, 8, 0x0807060504030201n);
    clock.charge = () => {
      hv.words[(hv.ring + 8) >>> 2] = IoreqType.copy | (0xb8100 << 12); // another address, 1 byte
      hv.words[(hv.ring + 12) >>> 2] = 0x99;
      hv.words[(hv.ring + 20) >>> 2] = 0x99;
    };
    hv.raise(BUFFERED_PORT);
    dm.runUntilIdle();
    expect(dm.vga.read(0x18000, 4)).toBe(0x04030201);
    expect(dm.vga.read(0x18004, 4)).toBe(0x08070605);
    expect(dm.vga.read(0x18100, 4)).toBe(0);
    expect(hv.ringPointers).toEqual([2, 2]);
  });

  it('XSA-197 / CVE-2016-9381: a write pointer that runs on during a turn does not lengthen it', () => {
    const { hv, dm } = setUp();
    let writes = 0;
    const region: IoRegion = {
      name: 'low-trap',
      size: 8,
      widest: 4,
      read: () => 0,
      write: () => {
        writes++;
        if (writes < 2000) hv.buffer(0xa0000, 1, 1n);
      },
    };
    dm.memory.add(region, 0xa0000, { priority: 1 });
    hv.buffer(0xa0000, 1, 1n);
    hv.raise(BUFFERED_PORT);
    dm.turn();
    expect(writes).toBe(1);
  });

  it('XSA-199 / CVE-2016-9637: a port past 0xffff answers ones and takes nothing', () => {
    const { hv, text } = setUp();
    for (const port of [0x1_03f8, 0xffff_03f8, 0x1_0000_03f8, 0x7fff_ffff_0000_03f8]) {
      expect(hv.access({ type: IoreqType.pio, addr: port, size: 1 })).toBe(0xffn);
      expect(hv.access({ type: IoreqType.pio, addr: port, size: 4 })).toBe(0xffffffffn);
      hv.out(port, 1, 0x41);
    }
    expect(text).toEqual([]);
  });

  it('XSA-262 / CVE-2018-10981: a state moved during service ends that guest, and no answer is written over it', () => {
    for (const state of [IoreqState.none, IoreqState.ready, IoreqState.respReady, 9]) {
      const { hv, dm, warnings } = withTrap(({ hv: h }) => h.setState(state));
      hv.post({ addr: TRAP, size: 4 });
      hv.raise(VCPU_PORT);
      expect(dm.runUntilIdle()).toBe(true);
      expect(hv.state()).toBe(state);
      expect(hv.sent).toEqual([]);
      expect(hv.calls).toEqual(['shutdown 3']);
      expect(warnings).toEqual(['device model: ioreq slot 0 changed while it was in service; the domain is stopped']);
    }
  });

  it('XSA-166: only a slot that is READY is served, whatever else its state is', () => {
    const { hv, dm, seen } = withTrap(() => {});
    for (const state of [IoreqState.none, IoreqState.inProcess, IoreqState.respReady, 4, 15]) {
      hv.post({ addr: TRAP, size: 4 });
      hv.setState(state);
      hv.raise(VCPU_PORT);
      dm.runUntilIdle();
      expect(hv.state()).toBe(state);
    }
    expect(seen).toEqual([]);
    expect(hv.calls).toEqual([]);
  });

  it('XSA-239 / CVE-2017-15589: a narrow read leaves nothing of the data field as it was', () => {
    const { hv } = setUp();
    for (const type of [IoreqType.pio, IoreqType.copy, IoreqType.pciConfig]) {
      hv.post({
        type,
        addr: type === IoreqType.pio ? 0x3f9 : type === IoreqType.copy ? NIC_MMIO + 0x37 : 0x18 * 2 ** 32 + 4,
        size: 1,
      });
      hv.words[slotWord(hv, 8)] = -1;
      hv.words[slotWord(hv, 12)] = -1;
      hv.raise(VCPU_PORT);
      hv.deviceModel!.runUntilIdle();
      expect(hv.words[slotWord(hv, 8)]! >>> 8, `type ${type}`).toBe(0);
      expect(hv.words[slotWord(hv, 12)], `type ${type}`).toBe(0);
      hv.setState(IoreqState.none);
    }
  });

  it('XSA-121 / CVE-2015-2044: an access of a size that no instruction makes is refused', () => {
    for (const [type, size] of [
      [IoreqType.pio, 8],
      [IoreqType.pio, 3],
      [IoreqType.pio, 0],
      [IoreqType.copy, 16],
      [IoreqType.copy, 0xffffffff],
      [IoreqType.pciConfig, 8],
      [5, 4],
    ] as const) {
      const { hv, dm, warnings } = setUp();
      hv.post({ type, addr: 0xb8000, size });
      hv.raise(VCPU_PORT);
      dm.runUntilIdle();
      expect(hv.calls, `type ${type} size ${size}`).toEqual(['shutdown 3']);
      expect(warnings[0]).toMatch(/^device model: ioreq of vCPU 0: (size|type) \d+; the domain is stopped$/);
    }
  });

  it('XSA-112 / CVE-2014-8867: a string access past a page is refused before its first step', () => {
    const { hv, dm, seen } = withTrap(() => {});
    hv.post({ addr: TRAP, size: 4, count: 0xffffffff, ptr: 0x2000 });
    hv.raise(VCPU_PORT);
    dm.runUntilIdle();
    expect(seen).toEqual([]);
    expect(hv.calls).toEqual(['shutdown 3']);
  });

  it('XSA-463 / CVE-2024-45818: registers on both sides of a string access: the data side is RAM or nothing', () => {
    const { hv, seen } = withTrap(() => {});
    hv.access({ addr: 0xb8000, size: 4, count: 2, ptr: TRAP, write: 0 });
    hv.access({ addr: 0xb8000, size: 4, count: 2, ptr: TRAP });
    expect(seen).toEqual([]);
    expect(hv.access({ addr: 0xb8000, size: 8 })).toBe(0n);
  });

  it('Buffered ring: more slots than it has ends that guest', () => {
    for (const [read, write] of [
      [0, 512],
      [0, 0x80000000],
      [5, 4],
    ] as const) {
      const { hv, dm } = setUp();
      for (let i = 0; i < 511; i++) hv.buffer(0xb8000, 1, 1n);
      hv.words[hv.ring >>> 2] = read;
      hv.words[(hv.ring >>> 2) + 1] = write;
      hv.raise(BUFFERED_PORT);
      dm.runUntilIdle();
      expect(hv.calls).toEqual(['shutdown 3']);
      expect(dm.server.counters.buffered).toBe(0);
    }
  });

  it('Buffered ring: an 8-byte write with one slot ends that guest', () => {
    const { hv, dm, warnings } = setUp();
    hv.buffer(0xb8000, 8, 0x1122334455667788n);
    hv.words[(hv.ring >>> 2) + 1] = 1;
    hv.raise(BUFFERED_PORT);
    dm.runUntilIdle();
    expect(hv.calls).toEqual(['shutdown 3']);
    expect(warnings).toEqual(['device model: buffered ring: an 8-byte write with one slot; the domain is stopped']);
    expect(dm.vga.read(0x18000, 4)).toBe(0);
  });

  it('Buffered ring: a read pointer moved by the guest ends that guest', () => {
    const { hv, dm, seen } = withTrap(() => {});
    hv.buffer(0xb8000, 1, 1n);
    hv.raise(BUFFERED_PORT);
    dm.runUntilIdle();
    hv.buffer(0xb8000, 1, 2n);
    hv.words[hv.ring >>> 2] = 0;
    hv.post({ addr: TRAP, size: 4 });
    hv.raise(VCPU_PORT);
    dm.runUntilIdle();
    expect(hv.calls).toEqual(['shutdown 3']);
    expect(dm.server.counters.buffered).toBe(1);
    expect(seen).toEqual([]);
  });

  it('Buffered ring: reads and other types than memory and time are no buffered requests', () => {
    for (const word of [IoreqType.copy | 0x200, IoreqType.pio, IoreqType.pciConfig, IoreqType.invalidate, 0xff]) {
      const { hv, dm } = setUp();
      hv.buffer(0xb8000, 1, 1n);
      hv.words[(hv.ring + 8) >>> 2] = word | (0xb8000 << 12);
      hv.raise(BUFFERED_PORT);
      dm.runUntilIdle();
      expect(hv.calls).toEqual(['shutdown 3']);
    }
  });

  it('Buffered ring: pointers that the hypervisor lowers by whole rings are followed', () => {
    const { hv, dm } = setUp();
    for (let i = 0; i < 1200; i++) {
      hv.buffer(0xb8000 + (i % 100), 1, BigInt(i & 0xff));
      if (i % 300 === 299) hv.read(NIC_MMIO, 4);
      const [read, write] = hv.ringPointers;
      if (read >= 511) {
        hv.words[hv.ring >>> 2] = read - 511;
        hv.words[(hv.ring >>> 2) + 1] = write - 511;
      }
    }
    hv.read(NIC_MMIO, 4);
    expect(dm.server.counters.buffered).toBe(1200);
    expect(dm.vga.read(0x18000 + 99, 1)).toBe(1199 & 0xff);
    expect(hv.calls).toEqual([]);
  });

  it('Buffered ring: what is in it is seen before the synchronous request that follows', () => {
    const { hv } = setUp();
    hv.buffer(0xb8000, 4, 0xcafef00dn);
    expect(hv.read(0xb8000, 4)).toBe(0xcafef00d);
  });

  it('vp_eport changed by the guest: the answer goes to the port that was bound, the page is not asked again', () => {
    const { hv } = withTrap(({ hv: h }) => {
      h.words[slotWord(h, 24)] = 4095;
    });
    hv.words[slotWord(hv, 24)] = 77;
    hv.access({ addr: TRAP, size: 4 });
    expect(hv.sent).toEqual([VCPU_PORT]);
    expect(IOREQ_SIZE).toBe(32);
  });

  it('Event-channel storm: a turn serves each port once, masked meanwhile', () => {
    const { hv, dm, seen } = withTrap(({ hv: h }) => {
      expect(h.isMasked(VCPU_PORT)).toBe(true);
      for (let i = 0; i < 50; i++) h.raise(VCPU_PORT);
    });
    hv.post({ addr: TRAP, size: 4 });
    hv.raise(VCPU_PORT);
    expect(dm.turn()).toBe(true);
    expect(seen).toHaveLength(1);
    expect(hv.isMasked(VCPU_PORT)).toBe(false);
    // The storm left one bit: one more turn, which finds no request.
    expect(dm.turn()).toBe(true);
    expect(dm.turn()).toBe(false);
    expect(seen).toHaveLength(1);
  });

  it('Event-channel storm: ports that nobody bound are masked for good', () => {
    const { hv, dm } = setUp();
    for (let port = 1000; port < 4000; port++) {
      hv.evtchnUnmask(port);
      hv.raise(port);
    }
    expect(dm.turn()).toBe(true);
    expect(dm.turn()).toBe(false);
    hv.raise(2000);
    expect(dm.turn()).toBe(false);
  });

  it('buffered port: stays masked and is polled every 100 ms until a poll finds nothing', () => {
    const { hv, dm, clock } = setUp();
    hv.buffer(0xb8000, 1, 1n);
    hv.raise(BUFFERED_PORT);
    dm.runUntilIdle();
    expect(hv.isMasked(BUFFERED_PORT)).toBe(true);
    hv.buffer(0xb8001, 1, 2n);
    hv.raise(BUFFERED_PORT);
    dm.runUntilIdle();
    expect(dm.vga.read(0x18001, 1)).toBe(0);
    for (const expected of [2, 2]) {
      const due = dm.nextDeadlineNs;
      expect(due - clock.ns).toBeLessThanOrEqual(100_000_000);
      clock.ns = due;
      dm.runUntilIdle();
      expect(dm.vga.read(0x18001, 1)).toBe(expected);
    }
    expect(hv.isMasked(BUFFERED_PORT)).toBe(false);
  });
});

describe('map cache and DMA', () => {
  const dmaRead = ({ dm }: ReturnType<typeof setUp>, gpa: number): number[] => {
    const buffer = new Uint8Array(4);
    dm.dma.read(gpa, buffer, 0, 4);
    return [...buffer];
  };

  it('Mapcache: a page given back by the guest stays usable until INVALIDATE arrives, and not after', () => {
    const machine = setUp();
    const { hv } = machine;
    hv.poke(0x5000, [1, 2, 3, 4]);
    expect(dmaRead(machine, 0x5000)).toEqual([1, 2, 3, 4]);
    const mfn = hv.p2m.get(5)!;
    hv.p2m.delete(5);
    expect(dmaRead(machine, 0x5000)).toEqual([1, 2, 3, 4]);
    expect(hv.references.get(mfn)).toBe(1);
    hv.access({ type: IoreqType.invalidate, addr: 0, size: 4, write: 0xffffffff });
    expect(hv.references.get(mfn)).toBe(0);
    expect(dmaRead(machine, 0x5000)).toEqual([0, 0, 0, 0]);
  });

  it('Mapcache: INVALIDATE lets a locked DMA mapping finish first', () => {
    let invalidate: (() => void) | undefined;
    const machine = setUp({ onRamWrite: () => invalidate?.() });
    const { hv, dm } = machine;
    const held: number[] = [];
    invalidate = () => {
      dm.mapCache.invalidate();
      held.push(hv.references.get(hv.p2m.get(0x51)!)!);
    };
    const data = new Uint8Array(8192).fill(7);
    expect(dm.dma.write(0x50000, data, 0, data.length)).toBe(true);
    invalidate = undefined;
    expect(held).toEqual([1, 1]);
    expect(hv.peek(0x51fff, 1)[0]).toBe(7);
    expect(hv.references.get(hv.p2m.get(0x51)!)).toBe(0);
  });

  it('Unmapped gpa inside a cached bucket: that page alone fails, and not for ever', () => {
    const machine = setUp();
    const { hv } = machine;
    const mfn = hv.p2m.get(0x30)!;
    hv.p2m.delete(0x30);
    hv.poke(0x31000, [9, 9, 9, 9]);
    expect(dmaRead(machine, 0x31000)).toEqual([9, 9, 9, 9]);
    expect(dmaRead(machine, 0x30000)).toEqual([0, 0, 0, 0]);
    hv.p2m.set(0x30, mfn);
    hv.poke(0x30000, [5, 6, 7, 8]);
    expect(dmaRead(machine, 0x30000)).toEqual([5, 6, 7, 8]);
  });

  it('Unmapped gpa: holes do not fill the cache', () => {
    const machine = setUp();
    const before = machine.dm.mapCache.size;
    for (let bucket = 100; bucket < 10_000; bucket += 7) dmaRead(machine, bucket * 0x100000);
    expect(machine.dm.mapCache.size).toBe(before);
  });

  it("CVE-2021-3750, CVE-2021-3929, CVE-2023-0330, CVE-2023-3019: DMA at the card's own registers reaches no register", () => {
    const machine = setUp({ logForm: 'trace' });
    const { hv, logged } = machine;
    const lines = logged().length;
    expect(dmaRead(machine, NIC_MMIO)).toEqual([0, 0, 0, 0]);
    machine.dm.dma.write(NIC_MMIO + 0x37, Uint8Array.of(0x10), 0, 1);
    expect(
      logged()
        .slice(lines)
        .filter((line) => line.startsWith('memory_region_ops')),
    ).toEqual([]);
    expect(hv.read(NIC_MMIO, 4)).toBe(0x003e1600);
  });

  it('frames that were not granted stay untouched by DMA', () => {
    const { hv, dm } = setUp({ ramPages: 256 });
    const granted = new Set(hv.p2m.values());
    const poison = (mfn: number): boolean => !granted.has(mfn) && mfn > 4;
    for (let mfn = 5; mfn < 2048; mfn++) if (poison(mfn)) hv.bytes.fill(0xd7, mfn * 4096, (mfn + 1) * 4096);
    const data = new Uint8Array(3 * 4096 + 77).fill(1);
    for (let gpa = 0; gpa < 0x120000; gpa += 0x2f3b) dm.dma.write(gpa, data, 0, data.length);
    for (let mfn = 5; mfn < 2048; mfn++) {
      if (poison(mfn))
        expect(
          hv.bytes.subarray(mfn * 4096, (mfn + 1) * 4096).every((byte) => byte === 0xd7),
          `mfn ${mfn}`,
        ).toBe(true);
    }
  });
});
