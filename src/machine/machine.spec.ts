import { describe, expect, it } from 'vitest';
import type { Gfn } from '../base/address.ts';
import { ExitReason, type VcpuRegisters } from '../cpu/interface.ts';
import { readElf } from '../hypervisor/domain-builder/elf.ts';
import { FakeVcpu, type Guest } from '../hypervisor/testing/fake-vcpu.ts';
import { PGC_CODE } from '../hypervisor/mm/page-alloc.ts';
import { arpFrame, parseIpv4, parseMac } from '../net/frame.ts';
import { InlineMachine, type MachineSinks } from './machine.ts';
import { assembleTinyGuest } from './tiny-guest/image.ts';

const MAC = '00:16:3e:00:00:01';
const RX = 0x200000;
const TX = 0x200100;
const BUFFER = 0x201000;
const FRAME = 0x202000;

/** A machine whose guest is a program of accesses. */
function machine(program: (vcpu: FakeVcpu) => Guest, sinks: MachineSinks = {}, traceMask?: number) {
  let vcpu: FakeVcpu | undefined;
  const m = new InlineMachine(
    {
      name: 'test',
      clock: 'virtual',
      nics: [{ model: 'rtl8139', mac: parseMac(MAC) }],
      domain: {
        memoryMiB: 16,
        vcpus: 1,
        type: 'hvm',
        kernel: { kind: 'elf', elf: readElf(assembleTinyGuest()) },
        commandLine: '',
        hpet: true,
      },
      ...(traceMask === undefined ? {} : { traceMask }),
      engine: {
        areaSize: 0x1000,
        create: ({ memory, p2m }) => {
          vcpu = new FakeVcpu(memory, p2m as never);
          return vcpu;
        },
      },
    },
    sinks,
  );
  vcpu!.start(program);
  return { m, vcpu: vcpu! };
}

function* powerOff(v: FakeVcpu): Guest {
  yield* v.out(0xb004, 2, 0x2000);
  for (;;) yield ExitReason.budget;
}

function* pciRead(v: FakeVcpu, address: number): Guest<number> {
  yield* v.out(0xcf8, 4, address);
  return yield* v.in(0xcfc, 4);
}

/** ARP for the host by the RTL8139's C+ rings; sleeps until the answer's interrupt. */
function* arp(v: FakeVcpu, seen: Record<string, unknown>): Guest {
  const bar = ((yield* pciRead(v, 0x80001814)) & ~0xf) >>> 0;
  seen.bar = bar;
  seen.line = (yield* pciRead(v, 0x8000183c)) & 0xff;
  const gsi = 28;
  v.registers.rflags |= 0x200;
  yield* v.write(0xfec00000, 4, 0x10 + gsi * 2);
  yield* v.write(0xfec00010, 4, 0xa030);
  yield* v.write(bar + 0xe0, 2, 3);
  yield* v.write(bar + 0x20, 4, TX);
  yield* v.write(bar + 0xe4, 4, RX);
  yield* v.write(bar + 0x37, 1, 0xc);
  yield* v.write(bar + 0x44, 4, 0xe70a);
  yield* v.write(bar + 0x3c, 2, 1);
  yield* v.write(RX, 4, 0xc0000800);
  yield* v.write(RX + 8, 4, BUFFER);
  const frame = arpFrame(
    'request',
    { mac: parseMac(MAC), ip: parseIpv4('10.0.2.15') },
    { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.2') },
    new Uint8Array(6).fill(0xff),
  );
  for (let i = 0; i < frame.length; i++) yield* v.write(FRAME + i, 1, frame[i]!);
  yield* v.write(TX, 4, 0xf0000000 + frame.length);
  yield* v.write(TX + 8, 4, FRAME);
  yield* v.write(bar + 0xd9, 1, 0x40);
  while (!v.delivered.includes(0x30)) {
    yield ExitReason.hlt;
  }
  seen.isr = (yield* v.read(bar + 0x3e, 2)).lo;
  yield* v.write(bar + 0x3e, 2, 0xffff);
  yield* v.write(0xfee000b0, 4, 0);
  seen.replyOpcode = (yield* v.read(BUFFER + 20, 2)).lo;
  yield* powerOff(v);
}

describe('a machine with its device model inline', () => {
  it('starts with the boot vCPU at the entry, BARs placed through the device model, APICs as firmware leaves them', () => {
    const { m, vcpu } = machine(powerOff);
    const r = vcpu.registers as VcpuRegisters;
    expect([r.rip, r.cr0, r.gprLo(3)]).toEqual([0x100000n, 0x11, 0x2000]);
    expect(m.bars).toEqual([
      { devfn: 0x18, register: 0x10, kind: 'io', base: 0xc000, size: 0x100 },
      { devfn: 0x18, register: 0x14, kind: 'mem', base: 0xf0000000, size: 0x100 },
    ]);
    expect(m.platform.controllers.vlapicAcceptPicIntr(0)).toBe(true);
    expect(m.run()).toBe('shutdown');
    expect(m.domain.shutdownReason).toBe(0);
  });

  it('takes a frame to the wire and its answer back by an interrupt through IO-APIC and local APIC', () => {
    const seen: Record<string, unknown> = {};
    const log: string[] = [];
    const { m, vcpu } = machine((v) => arp(v, seen), { log: (text) => log.push(text) });
    expect(m.run()).toBe('shutdown');
    expect(seen).toEqual({ bar: 0xf0000000, line: 5, isr: 5, replyOpcode: 0x0200 });
    expect(vcpu.delivered).toEqual([0x30]);
    expect(log.join('')).toContain('xen_map_cache want 0x200100');
  });

  it('tells the engine of DMA into a frame it decoded code from, and of no other', () => {
    const { m, vcpu } = machine((v) => arp(v, {}));
    const frame = m.p2m.getMfn((BUFFER >> 12) as Gfn);
    Atomics.or(m.memory.i32, m.memory.frameEntry(frame) >>> 2, PGC_CODE);
    expect(m.run()).toBe('shutdown');
    expect(new Set(vcpu.codeInvalidated)).toEqual(new Set([frame])); // frame and CRC are two writes
  });

  it('is the same to the byte in a second run', () => {
    const run = (): string[] => {
      const parts: Record<string, Buffer[]> = { trace: [], pcap: [], log: [] };
      const { m } = machine((v) => arp(v, {}), {
        trace: (b) => parts.trace!.push(Buffer.from(b)),
        pcap: (b) => parts.pcap!.push(Buffer.from(b)),
        log: (t) => parts.log!.push(Buffer.from(t)),
      });
      m.run();
      return Object.values(parts).map((p) => Buffer.concat(p).toString('base64'));
    };
    const first = run();
    expect(first.every((bytes) => bytes.length > 200)).toBe(true);
    expect(run()).toEqual(first);
  });

  it("hands the RTC's new time to the device model by the buffered page", () => {
    const log: string[] = [];
    const { m } = machine(
      function* (v) {
        yield* v.out(0x70, 1, 4);
        yield* v.out(0x71, 1, 0x11);
        yield* v.in(0xcfc, 4);
        yield* powerOff(v);
      },
      { log: (text) => log.push(text) },
    );
    m.run();
    expect(log.join('')).toMatch(/handle_ioreq .*type=7/);
  });
});
