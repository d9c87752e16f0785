/** What can be read of a machine that stands still. Nothing here changes anything: page walks are made by hand, without A and D bits. */
import { gpa as toGpa, gpaToGfn, type Gfn, gva, PAGE_SIZE } from '../base/address.ts';
import { hex, hex64 } from '../base/hex.ts';
import {
  IoreqState,
  IOREQS_PER_PAGE,
  newIoreq,
  readSlot,
  slotAt,
  stateAt,
  ioreqState,
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_WRITE_POINTER,
} from '../abi/ioreq.ts';
import { Efer, Reg, Rights, Seg } from '../cpu/interface.ts';
import type { PciDevice } from '../devices/pci/pci-device.ts';
import { EvtchnState } from '../hypervisor/events/event-channel.ts';
import { P2mType } from '../hypervisor/mm/p2m.ts';
import type { InlineMachine } from '../machine/machine.ts';
import { readRam, type Walk, walk } from '../machine/page-walk.ts';
import { modeOf, readingOf } from './registers.ts';

export const registerNames = Object.keys(Reg) as (keyof typeof Reg)[];
export class Inspector {
  private readonly machine: InlineMachine;

  constructor(machine: InlineMachine) {
    this.machine = machine;
  }

  /** 16, 32 or 64: how the code at RIP is decoded. */
  get bitness(): 16 | 32 | 64 {
    const { registers } = this.machine.hvm.engine;
    const { accessRights } = registers.getSegment(Seg.cs);
    if (registers.efer & Efer.lma && accessRights & Rights.long) return 64;
    return accessRights & Rights.big ? 32 : 16;
  }

  /** Linear address of the next instruction. */
  get rip(): bigint {
    const { registers } = this.machine.hvm.engine;
    if (this.bitness === 64) return registers.rip;
    return (registers.getSegment(Seg.cs).base + registers.rip) & 0xffff_ffffn;
  }

  /** Bytes of guest RAM at a guest-physical address; undefined where there is none. */
  physical(address: number, length: number): Uint8Array | undefined {
    return readRam(this.machine, address, length);
  }

  /** Bytes at a linear address, up to the first that is not mapped to RAM. */
  linear(address: bigint, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = BigInt.asUintN(64, address + BigInt(done));
      const { gpa } = this.walk(at);
      const step = Math.min(length - done, PAGE_SIZE - Number(at & 0xfffn));
      const bytes = gpa === undefined ? undefined : this.physical(gpa, step);
      if (bytes === undefined) return out.subarray(0, done);
      out.set(bytes, done);
      done += step;
    }
    return out;
  }

  /** Writes RAM at a linear address, as a debugger does; gives how many bytes. The run is another one from then on. */
  writeLinear(address: bigint, bytes: Uint8Array): number {
    const { memory, p2m, hvm } = this.machine;
    for (let i = 0; i < bytes.length; i++) {
      const { gpa } = this.walk(BigInt.asUintN(64, address + BigInt(i)));
      const at = gpa === undefined ? -1 : p2m.ramAddress(gpa);
      if (at < 0) return i;
      memory.u8[at] = bytes[i]!;
      hvm.engine.invalidateCode((at >>> 12) as Parameters<typeof hvm.engine.invalidateCode>[0]);
    }
    return bytes.length;
  }

  /** The guest's page walk of a linear address. */
  walk(address: bigint): Walk {
    const { memory, p2m, hvm } = this.machine;
    return walk({ memory, p2m, registers: hvm.engine.registers }, address);
  }

  /** General registers, RIP, RFLAGS and control registers by Xen's names. */
  registers(): Record<string, string> {
    const { registers } = this.machine.hvm.engine;
    const out: Record<string, string> = {};
    for (const name of registerNames) out[name] = hex16(registers.getGpr(Reg[name]));
    Object.assign(out, {
      rip: hex16(registers.rip),
      rflags: hex16(BigInt(registers.rflags)),
      cr0: hex16(BigInt(registers.cr0 >>> 0)),
      cr2: hex16(registers.cr2),
      cr3: hex16(registers.cr3),
      cr4: hex16(BigInt(registers.cr4 >>> 0)),
      cr8: hex16(BigInt(registers.cr8)),
      efer: hex16(BigInt(registers.efer >>> 0)),
      cpl: String(registers.cpl),
    });
    for (const [name, seg] of Object.entries(Seg)) {
      const { selector, base, limit, accessRights } = registers.getSegment(seg);
      out[name] = `${hex(selector, 4)} base ${hex16(base)} limit ${hex(limit >>> 0, 8)} attr ${hex(accessRights, 5)}`;
    }
    return out;
  }

  /** A guest frame's entry in the p2m. */
  p2m(gfn: number): Record<string, string> {
    const { p2m, memory, domain } = this.machine;
    const mfn = p2m.getMfn(gfn as Gfn);
    const type = p2m.getType(gfn as Gfn);
    const typeName = Object.entries(P2mType).find(([, number]) => number === type)?.[0] ?? String(type);
    const isFrame = mfn >= 0 && memory.isRamFrame(mfn);
    return {
      gfn: `0x${hex(gfn)}`,
      mfn: mfn < 0 ? 'none' : `0x${hex(mfn)}`,
      type: typeName,
      access: String(p2m.getAccess(gfn as Gfn)),
      ...(isFrame ? { references: String(domain.pcpu.pages.references(mfn)), owner: `d${domain.pcpu.pages.owner(mfn)}` } : {}),
    };
  }

  /** The synchronous slots in use and the buffered ring of the device model's ioreq server. */
  ioreq(): Record<string, unknown> {
    const { servers, deviceModel, memory, domain } = this.machine;
    const info = servers.info(deviceModel.server.id);
    if (typeof info === 'number') return { server: 'gone' };
    const slots = [];
    for (let vcpu = 0; vcpu < Math.min(domain.vcpus.length, IOREQS_PER_PAGE); vcpu++) {
      const slot = slotAt(info.ioreqPage, vcpu);
      const word = memory.i32[stateAt(slot)]!;
      const p = newIoreq();
      readSlot(memory.i32, slot, word, p);
      const state = Object.entries(IoreqState).find(([, number]) => number === ioreqState(word))?.[0] ?? '?';
      slots.push({
        vcpu,
        state,
        type: p.type,
        addr: `0x${hex(p.addr)}`,
        size: p.size,
        dir: p.dir === 1 ? 'read' : 'write',
        data: `0x${hex64(p.dataLo, p.dataHi)}`,
      });
    }
    return {
      id: deviceModel.server.id,
      slots,
      buffered: {
        read: memory.u32[(info.bufioreqPage + BUFIOREQ_READ_POINTER) >>> 2],
        write: memory.u32[(info.bufioreqPage + BUFIOREQ_WRITE_POINTER) >>> 2],
      },
      served: deviceModel.server.counters,
    };
  }

  /** Ports in use of both domains. */
  eventChannels(): Record<string, unknown>[] {
    const { events, dom0, domain } = this.machine;
    const rows: Record<string, unknown>[] = [];
    for (const of of [dom0, domain]) {
      for (let port = 1; port < 4096; port++) {
        if (!events.isValid(of, port)) continue;
        const status = events.status(of, of.domid, port);
        if (typeof status === 'number') continue;
        const state = Object.entries(EvtchnState).find(([, number]) => number === status.state)?.[0];
        rows.push({
          domain: `d${of.domid}`,
          port,
          state,
          vcpu: status.vcpu,
          pending: events.isPending(of, port),
          ...(status.state === EvtchnState.interdomain ? { remote: `d${status.remoteDomid} port ${status.remotePort}` } : {}),
          ...(status.state === EvtchnState.virq ? { virq: status.virq } : {}),
        });
      }
    }
    return rows;
  }

  /** Interrupt controllers: what is requested and in service, and which lines are up. */
  interrupts(): Record<string, unknown> {
    const { platform, memory, hvm } = this.machine;
    const { controllers, irq } = platform;
    const lines: number[] = [];
    for (let gsi = 0; gsi < 48; gsi++) if (irq.gsiAssertCount(gsi) > 0) lines.push(gsi);
    const structures: Record<string, string> = {};
    for (const { name, base, size } of memory.xenheapEntries())
      if (/^(vlapic|vioapic|vpic)/.test(name)) structures[name] = `0x${hex(base)}, ${size} bytes`;
    return {
      'lines up': lines,
      'PIC output': controllers.vpicIntOutput(),
      'local APIC pending': controllers.vlapicHasPendingIrq(0),
      'local APIC enabled': controllers.vlapicEnabled(0),
      'vCPU takes interrupts': hvm.engine.interruptible,
      'injection pending': hvm.engine.injectionPending,
      structures,
    };
  }

  /** Registers of a NIC by name, with their fields. */
  nic(index: number): Record<string, string> | undefined {
    const device = this.machine.deviceModel.nics[index]?.nic as unknown as PciDevice | undefined;
    if (device === undefined) return undefined;
    const reading = readingOf(device.name);
    const { registers } = device.save() as { registers?: Uint32Array };
    if (reading === undefined || registers === undefined) return {};
    const mode = modeOf(device);
    const out: Record<string, string> = {};
    reading.registers.forEach((register, i) => {
      const value = registers[i];
      if (value === undefined) return;
      const block = reading.blocks[0]!;
      const explained = reading.explain(block, { offset: register.offset, width: register.width, value, mode, dir: 'read' });
      const fields = explained.find(({ name }) => name === register.name)?.fields ?? '';
      out[register.name] = `0x${hex(value >>> 0, register.width * 2)}${fields === '' ? '' : ` ${fields}`}`;
    });
    return out;
  }

  /** Descriptors of a place of the NIC's: guest-physical address, words and what they say. */
  ring(index: number, direction: 'transmit' | 'receive', base: number, count: number): Record<string, string>[] {
    const device = this.machine.deviceModel.nics[index]?.nic as unknown as PciDevice | undefined;
    const reading = device && readingOf(device.name);
    if (device === undefined || reading === undefined) return [];
    const rows: Record<string, string>[] = [];
    for (let i = 0; i < count; i++) {
      const bytes = this.physical(base + i * 16, 16);
      if (bytes === undefined) break;
      const words = [...new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 16))];
      const { text } = reading.descriptor(direction, words, modeOf(device));
      rows.push({ descriptor: String(i), gpa: `0x${hex(base + i * 16)}`, words: words.map((w) => hex(w, 8)).join(' '), text });
    }
    return rows;
  }

  /** What lies ahead in time, in nanoseconds of the clock. */
  timers(): Record<string, string> {
    const { timers, deviceModel, clock } = this.machine;
    return {
      now: ns(clock.nowNs()),
      'next timer of the hypervisor': ns(timers.nextDeadline()),
      'next deadline of the device model': ns(deviceModel.nextDeadlineNs),
    };
  }

  mapCache(): Record<string, unknown> {
    const { counters, size } = this.machine.deviceModel.mapCache;
    return { buckets: size, ...counters };
  }

  /** Code around the next instruction: bytes before and from it on, for a disassembler. */
  code(): { readonly bytes: Uint8Array; readonly address: bigint; readonly at: bigint; readonly bitness: 16 | 32 | 64 } {
    const at = this.rip;
    const before = at < 32n ? 0 : 32;
    const first = this.linear(gva(at - BigInt(before)), before);
    const behind = this.linear(at, 48);
    const whole = first.length === before;
    const bytes = whole ? Uint8Array.of(...first, ...behind) : behind;
    return { bytes, address: whole ? at - BigInt(before) : at, at, bitness: this.bitness };
  }

  /** Guest frame of a guest-physical address. */
  gfn(address: number): number {
    return gpaToGfn(toGpa(address));
  }
}

const hex16 = (value: bigint): string => value.toString(16).padStart(16, '0');
const ns = (value: number): string => (value === Infinity ? 'none' : `${(value / 1e9).toFixed(9)} s`);
