import { describe, expect, it } from 'vitest';
import { IoRangeType } from '../abi/dm-op.ts';
import { IoreqType } from '../abi/ioreq.ts';
import { UserError } from '../base/errors.ts';
import { createFrameRing, FrameRingProducer } from '../net/frame-ring.ts';
import { FakeHypervisor, HandClock } from './testing/fake-hypervisor.ts';
import { NIC_MMIO, NIC_PORT, setUp } from './testing/set-up.ts';
import { DeviceModel } from './device-model.ts';

describe('device model', () => {
  it('registers disjoint port and memory ranges and every PCI function', () => {
    const { hv } = setUp();
    const of = (type: number): string[] =>
      [...hv.ranges]
        .filter((r) => r.startsWith(`${type}:`))
        .map((r) =>
          r
            .split(':')
            .slice(1)
            .map((n) => Number(n).toString(16))
            .join('-'),
        )
        .sort();
    expect(of(IoRangeType.port)).toEqual(['12-12', '3f8-3ff', '64-64', 'b004-b005', 'c000-c0ff', 'cf8-cff']);
    expect(of(IoRangeType.memory)).toEqual(['a0000-bffff', 'f0000000-f00000ff']);
    expect(of(IoRangeType.pci)).toEqual(['0-0', '18-18', '8-8', 'b-b']);
  });

  it('serves port, memory and configuration accesses of every size', () => {
    const { hv } = setUp();
    expect(hv.access({ type: IoreqType.pciConfig, addr: 0x18 * 2 ** 32 + 0, size: 4 })).toBe(0x813910ecn);
    expect(hv.access({ type: IoreqType.pciConfig, addr: 0x18 * 2 ** 32 + 2, size: 2 })).toBe(0x8139n);
    hv.out(0xcf8, 4, 0x80001800);
    expect(hv.in(0xcfc, 4)).toBe(0x813910ec);
    expect(hv.in(0xcfe, 2)).toBe(0x8139);
    hv.out(0xcf8, 4, 0x80002000);
    expect(hv.in(0xcfc, 4)).toBe(0xffffffff);
    expect(hv.read(NIC_MMIO, 4)).toBe(0x003e1600);
    expect(hv.read(NIC_MMIO + 4, 2)).toBe(0x0100);
    expect(hv.in(NIC_PORT, 4)).toBe(0x003e1600);
    expect(hv.access({ addr: NIC_MMIO, size: 8 }) & 0xffffffffffffn).toBe(0x0100003e1600n);
    hv.write(0xb8000, 8, 0);
    hv.access({ addr: 0xb8000, size: 8, write: 0x0123456789abcdefn });
    expect(hv.access({ addr: 0xb8000, size: 8 })).toBe(0x0123456789abcdefn);
    expect(hv.access({ addr: 0xe0000000, size: 8 })).toBe(0xffffffffffffffffn);
  });

  it('work beyond what one call takes on is due at once, and the next call does it', () => {
    const consoleInput = createFrameRing(1 << 17);
    const { dm } = setUp({ consoleInput });
    const producer = new FrameRingProducer(consoleInput);
    for (let i = 0; i < 12_000; i++) expect(producer.push(Uint8Array.of(i))).toBe(true);
    expect(dm.runUntilIdle()).toBe(false);
    expect(dm.nextDeadlineNs).toBe(0);
    expect(dm.runUntilIdle()).toBe(true);
    expect(dm.nextDeadlineNs).toBe(Infinity);
  });

  it('string accesses step by size, backwards with the direction flag, data by guest-physical address', () => {
    const { hv } = setUp();
    hv.poke(0x2000, [1, 2, 3, 4, 5, 6, 7, 8]);
    hv.access({ addr: 0xb8000, size: 2, count: 4, ptr: 0x2000, write: 0 });
    expect(hv.access({ addr: 0xb8000, size: 8 })).toBe(0x0807060504030201n);
    hv.access({ addr: 0xb8006, size: 2, count: 4, ptr: 0x3006, df: true });
    expect([...hv.peek(0x3000, 8)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    hv.access({ addr: 0xb8100, size: 4, count: 3, write: 0xaabbccdd }); // rep stos
    expect(hv.read(0xb8100, 4)).toBe(0xaabbccdd);
    expect(hv.read(0xb8108, 4)).toBe(0xaabbccdd);
    expect(hv.read(0xb810c, 4)).toBe(0);
    hv.poke(
      0x4000,
      [...'rep outs'].map((c) => c.charCodeAt(0)),
    );
    const { text, hv: other } = setUp();
    other.poke(
      0x4000,
      [...'rep outs'].map((c) => c.charCodeAt(0)),
    );
    other.access({ type: IoreqType.pio, addr: 0x3f8, size: 1, count: 8, ptr: 0x4000, write: 0 });
    expect(text.join('')).toBe('rep outs');
    other.access({ type: IoreqType.pio, addr: 0x3fd, size: 1, count: 3, ptr: 0x5000 });
    expect([...other.peek(0x5000, 4)]).toEqual([0x60, 0x60, 0x60, 0]);
  });

  it('string data across a page the guest does not have: that part reads zero or is lost', () => {
    const { hv } = setUp();
    hv.poke(0x9fffc, [0x11, 0x22, 0x33, 0x44]);
    hv.access({ addr: 0xb8000, size: 4, count: 2, ptr: 0x9fffc, write: 0 });
    expect(hv.access({ addr: 0xb8000, size: 8 })).toBe(0x44332211n);
  });

  it('takes characters of the guest and gives it some', () => {
    const { hv, text, dm } = setUp();
    for (const c of 'login: ') hv.out(0x3f8, 1, c.charCodeAt(0));
    hv.out(0x12, 1, 0x21);
    expect(text.join('')).toBe('login: !');
    hv.out(0x3f9, 1, 1);
    dm.consoleReceive(new TextEncoder().encode('r'));
    expect(hv.calls).toEqual(['isa 4=1']);
    expect(hv.in(0x3f8, 1)).toBe(0x72);
    expect(hv.calls).toEqual(['isa 4=1', 'isa 4=0']);
  });

  it('turns interrupts, routes, poweroff and reset into hypercalls', () => {
    const { hv, dm } = setUp();
    hv.access({ type: IoreqType.pciConfig, addr: 0x08 * 2 ** 32 + 0x60, size: 1, write: 11 });
    hv.write(NIC_MMIO + 0x3c, 2, 0x20); // unmask link change
    dm.nics[0]!.setLink(false);
    hv.write(NIC_MMIO + 0x3e, 2, 0xffff);
    hv.out(0xb004, 2, 0x2001);
    hv.out(0xcf9, 1, 6);
    expect(hv.calls).toEqual(['link 0=11', 'intx 0:0:3.0=1', 'intx 0:0:3.0=0', 'shutdown 0', 'shutdown 1']);
  });

  it('moves its ranges with a BAR', () => {
    const { hv } = setUp();
    hv.access({ type: IoreqType.pciConfig, addr: 0x18 * 2 ** 32 + 0x14, size: 4, write: 0xe0000000 });
    expect(hv.ranges.has(`1:${0xe0000000}:${0xe00000ff}`)).toBe(true);
    expect(hv.ranges.has(`1:${NIC_MMIO}:${NIC_MMIO + 0xff}`)).toBe(false);
    expect(hv.read(0xe0000000, 4)).toBe(0x003e1600);
  });

  it('continues from a saved state: registers, wire and ring position', () => {
    const a = setUp();
    a.hv.write(NIC_MMIO + 0x3c, 2, 0x1234);
    a.hv.buffer(0xb8000, 2, 0x0741n);
    a.hv.read(NIC_MMIO, 4);
    a.hv.out(0x3ff, 1, 0x77);
    const state = structuredClone(a.dm.save());
    const b = setUp();
    b.dm.restore(state);
    expect(structuredClone(b.dm.save())).toEqual(structuredClone(a.dm.save()));
    expect(b.hv.read(NIC_MMIO + 0x3c, 2)).toBe(a.hv.read(NIC_MMIO + 0x3c, 2));
    expect(b.hv.in(0x3ff, 1)).toBe(0x77);
    expect(b.dm.vga.text()[0]).toBe('A');
    expect(b.dm.server.ringSlot).toBe(1);
    expect(() => b.dm.restore({ parts: {} })).toThrow(UserError);
  });

  it('two vCPUs have a slot each', () => {
    const { hv, dm } = setUp({ vcpus: 2 });
    hv.post({ addr: NIC_MMIO, size: 4, vcpu: 1 });
    hv.post({ addr: 0xb8000, size: 4, write: 5 });
    hv.raise(11);
    dm.runUntilIdle();
    expect(hv.state(0)).toBe(1);
    expect(hv.state(1)).toBe(3);
    hv.raise(10);
    dm.runUntilIdle();
    expect(hv.state(0)).toBe(3);
    expect(hv.state(1)).toBe(3);
  });

  it('knows its NIC models', () => {
    const hv = new FakeHypervisor();
    const nics = [{ model: 'ne3000', mac: new Uint8Array(6) }];
    expect(() => new DeviceModel({ memory: hv.memory, hypercalls: hv, clock: new HandClock(), nics })).toThrow(
      /'ne3000': expected one of rtl8139/,
    );
  });
});
