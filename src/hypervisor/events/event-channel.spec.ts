import { describe, expect, it } from 'vitest';
import { SHARED_INFO_EVTCHN_MASK, SHARED_INFO_EVTCHN_PENDING } from '../../abi/event-channel.ts';
import { TestMachine } from '../testing/machine.ts';

const make = () => {
  const machine = new TestMachine();
  const { events, domain, dom0, memory } = machine;
  const bit = (base: number, port: number): boolean =>
    (memory.u8[domain.sharedInfo + base + (port >> 3)]! & (1 << (port & 7))) !== 0;
  const mask = (port: number): void =>
    void (memory.u8[domain.sharedInfo + SHARED_INFO_EVTCHN_MASK + (port >> 3)]! |= 1 << (port & 7));
  const info = (): number => domain.vcpus[0]!.vcpuInfo;
  const upcall = (): number => memory.u8[info()]!;
  return {
    machine,
    events,
    domain,
    dom0,
    memory,
    pending: (port: number) => bit(SHARED_INFO_EVTCHN_PENDING, port),
    mask,
    upcall,
    info,
  };
};

describe('event channels', () => {
  it("connect a guest's port to dom0 and carry events both ways", () => {
    const { events, domain, dom0, pending, upcall, memory, info } = make();
    const port = events.allocUnbound(domain, 0);
    expect(events.send(domain, port)).toBe(0);
    const local = events.bindInterdomain(dom0, 1, port);
    expect(local).toBeGreaterThan(0);
    expect(events.bindInterdomain(dom0, 1, port)).toBe(-22);
    expect(events.bindInterdomain(dom0, 9, port)).toBe(-3);
    expect(events.send(dom0, local)).toBe(0);
    expect([pending(port), upcall()]).toEqual([true, 1]);
    expect(memory.u32[(info() + 8) >>> 2]).toBe(1 << (port >> 6));
    expect(events.close(dom0, local, true)).toBe(0);
    expect(events.status(domain, 0x7ff0, port)).toMatchObject({ state: 2, remoteDomid: 0 });
  });

  it('keep a masked event pending and deliver it at unmask', () => {
    const { events, domain, dom0, pending, mask, upcall } = make();
    const port = events.allocUnbound(domain, 0);
    const local = events.bindInterdomain(dom0, 1, port);
    mask(port);
    events.send(dom0, local);
    expect([pending(port), upcall()]).toEqual([true, 0]);
    expect(events.unmask(domain, port)).toBe(0);
    expect(upcall()).toBe(1);
  });

  it("do not let the guest touch Xen's own ends", () => {
    const { events, domain } = make();
    const port = events.allocUnboundXen(domain, 0, 0);
    expect(events.close(domain, port, true)).toBe(-22);
    expect(events.send(domain, port, true)).toBe(-22);
    expect(events.bindVcpu(domain, port, 0)).toBe(-22);
    expect(events.close(domain, port, false)).toBe(0);
  });

  it('run out at 4096, refuse ports that are not there, and bind a virq once', () => {
    const { events, domain } = make();
    const ports = new Set<number>();
    for (let port = events.allocUnbound(domain, 0); port > 0; port = events.allocUnbound(domain, 0)) ports.add(port);
    expect(Math.max(...ports)).toBe(4095);
    expect(events.allocUnbound(domain, 0)).toBe(-28);
    expect(events.bindIpi(domain, 0)).toBe(-28);
    for (const port of [0, -1, 4096, 0xffffffff, NaN]) {
      expect(events.close(domain, port, true)).toBe(-22);
      expect(events.send(domain, port, true)).toBe(-22);
      expect(events.unmask(domain, port)).toBe(-22);
      expect(events.status(domain, 0x7ff0, port)).toBe(-22);
    }
    events.reset(domain);
    const virq = events.bindVirq(domain, 0, 0);
    expect(virq).toBeGreaterThan(0);
    expect(events.bindVirq(domain, 0, 0)).toBe(-17);
    expect([events.bindVirq(domain, 24, 0), events.bindVirq(domain, 2, 1), events.bindVirq(domain, 0, 1)]).toEqual([
      -22, -22, -2,
    ]);
    expect(events.isPending(domain, virq)).toBe(false);
    events.sendVirq(domain, 0, 0);
    expect(events.isPending(domain, virq)).toBe(true);
    events.close(domain, virq, true);
    expect(events.isPending(domain, virq)).toBe(false);
    events.sendVirq(domain, 0, 0);
    expect(events.isPending(domain, virq)).toBe(false);
  });

  it('lie in words of 32 bits for a 32-bit guest, which has 1024', () => {
    const { events, domain, dom0, memory, upcall, info } = make();
    domain.compatSharedInfo = true;
    const port = events.allocUnbound(domain, 0);
    const local = events.bindInterdomain(dom0, 1, port);
    memory.u32[(domain.sharedInfo + 2048 + 128) >>> 2] = 0xffffffff;
    events.send(dom0, local);
    expect(upcall()).toBe(0);
    events.unmask(domain, port);
    expect(upcall()).toBe(1);
    expect(memory.u32[(info() + 4) >>> 2]).toBe(1);
    let last = 0;
    for (let next = port; next > 0; next = events.allocUnbound(domain, 0)) last = next;
    expect(last).toBe(1023);
  });
});
