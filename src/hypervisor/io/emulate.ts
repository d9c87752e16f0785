/**
 * Completing the guest's I/O (Xen: arch/x86/hvm/emulate.c): an access that left the guest becomes requests of the sizes
 * and counts Xen makes of it, each served inside the hypervisor, by an ioreq server, or by nobody.
 */
import { lowBytes } from '../../base/width.ts';
import { type Ioreq, IOREQ_READ, IOREQ_WRITE, IoreqType, newIoreq } from '../../abi/ioreq.ts';
import { gva, PAGE_SIZE, pageOffset, gpaToGfn } from '../../base/address.ts';
import type { Gpa } from '../../base/address.ts';
import { VGA_HOLE_BASE, VGA_HOLE_END } from '../../base/vga.ts';
import { Efer, EptQualification, EventType, StringKind } from '../../cpu/interface.ts';
import type { Vcpu } from '../../cpu/interface.ts';
import {
  TRC_64_FLAG,
  TRC_HVM_INJ_EXC,
  TRC_HVM_IOMEM_READ,
  TRC_HVM_IOMEM_WRITE,
  TRC_HVM_IOPORT_READ,
  TRC_HVM_IOPORT_WRITE,
  TRC_HVM_PF_INJECT,
  TRC_HVM_PF_INJECT64,
} from '../../trace/events.ts';
import { virtualCost } from '../time/clock.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import type { GuestMemory } from '../mm/guest-access.ts';
import { Emul } from './intercept.ts';
import type { HvmMmioOps, IoAccess, IoHandlers, PortioHandler } from './intercept.ts';
import { ioreqFirstByte, ioreqLastByte } from './ioreq.ts';
import type { IoreqServers, XenWait } from './ioreq.ts';
import { P2mType } from '../mm/p2m.ts';

/** Most repetitions handled at once (hvmemul_virtual_to_linear). */
const MAX_REPS = 4096;

export const TRAP_ud = 6;
const TRAP_df = 8;
export const TRAP_gp = 13;
const TRAP_pf = 14;
/** #DE, #TS, #NP, #SS, #GP (SDM vol. 3A table 6-4). */
const isContributory = (vector: number): boolean => vector === 0 || (vector >= 10 && vector <= 13);

export interface EmulatorParts {
  readonly domain: Domain;
  readonly state: VcpuState;
  readonly engine: Vcpu;
  readonly guest: GuestMemory;
  readonly handlers: IoHandlers;
  readonly servers: IoreqServers;
  readonly wait: XenWait;
  /** An exception came while a double fault was being delivered. */
  tripleFault(): void;
}

/** The emulator of one vCPU. */
export class Emulator {
  private readonly parts: EmulatorParts;
  private readonly request = newIoreq();
  private readonly access: IoAccess;
  /** Data of the access in hand, unsigned halves. */
  private lo = 0;
  private hi = 0;
  /** Guest-physical addresses of a string element's parts before and behind a page end. */
  private readonly stringAt = [0, 0];

  constructor(parts: EmulatorParts) {
    this.parts = parts;
    this.access = { vcpu: parts.state.id, isWrite: false, address: 0, size: 0, lo: 0, hi: 0 };
  }

  /** hvm_mmio_internal: an in-hypervisor device answers at this address. */
  mmioInternal(gpa: Gpa): boolean {
    return this.parts.handlers.findMmio(gpa, this.parts.state.id) !== undefined;
  }

  /** handle_mmio: serve the access of the last EPT-violation exit. False: cannot be emulated (#GP for the guest). */
  handleMmio(): boolean {
    const { engine } = this.parts;
    const { exit } = engine;
    if (exit.qualification & EptQualification.fetch) return false;
    if (!(exit.qualification & EptQualification.finalAccess)) {
      // The walk itself met something that is no RAM: to the guest its page is not there.
      const code = (exit.isWrite ? 2 : 0) | (engine.registers.cpl === 3 ? 4 : 0);
      this.injectPageFault(exit.gla, code);
      return true;
    }
    const reps = this.repsOfMmio();
    if (reps < 2) return this.singleMmio();
    return exit.string === StringKind.stos ? this.repStos(reps) : this.repMovs(reps);
  }

  /** handle_pio and the string forms: serve the last I/O exit. */
  handlePio(): boolean {
    const { engine } = this.parts;
    const { exit } = engine;
    if (exit.string === StringKind.ins || exit.string === StringKind.outs) {
      const isIns = exit.string === StringKind.ins;
      if (exit.rep && exit.repCount > 1) {
        const done = this.repPio(isIns);
        if (done !== undefined) return done;
      }
      return this.stringPio(isIns);
    }
    const value = this.portAccess(exit.isWrite ? lowBytes(exit.dataLo, exit.size) : 0xffff_ffff);
    if (value !== undefined) engine.completeAccess(exit.isWrite ? 0 : value, 0);
    return true;
  }

  /** One access to the exit's port; the value read, or undefined when the domain is down. */
  private portAccess(value: number): number | undefined {
    const { engine, domain } = this.parts;
    const { exit } = engine;
    const p = this.fill(IoreqType.pio, exit.port, exit.size, exit.isWrite, 1, false);
    p.dataLo = value;
    const rc = this.doIo(p);
    if (rc === Emul.okay) return lowBytes(p.dataLo, exit.size);
    if (domain.shutdownReason >= 0) return undefined;
    return domain.crash(`Unexpected PIO status ${rc}, port 0x${exit.port.toString(16)} ${exit.isWrite ? 'write' : 'read'}`);
  }

  /**
   * One element of INS or OUTS whose memory is not RAM of one page: it may cross a page, lie at a device, or be nowhere. A
   * page fault comes before the port is touched, so that nothing read is lost.
   */
  private stringPio(isIns: boolean): boolean {
    const { engine, domain } = this.parts;
    const { exit } = engine;
    const address = isIns ? exit.destinationGla : exit.sourceGla;
    const first = Math.min(exit.size, PAGE_SIZE - Number(address & 0xfffn));
    for (let part = 0; part < (first < exit.size ? 2 : 1); part++) {
      const at = gva(part === 0 ? address : address + BigInt(first));
      const walk = engine.translate(at, isIns ? 'write' : 'read', 'current');
      if (walk.outcome === 'ok') this.stringAt[part] = walk.gpa;
      else {
        this.injectPageFault(
          at,
          walk.outcome === 'fault' ? walk.errorCode : (isIns ? 2 : 0) | (engine.registers.cpl === 3 ? 4 : 0),
        );
        return true;
      }
    }
    if (!isIns && !this.memoryParts(first, false)) return domain.shutdownReason >= 0;
    const value = this.portAccess(isIns ? 0xffff_ffff : lowBytes(this.lo, exit.size));
    if (value === undefined) return true;
    this.lo = value;
    if (isIns && !this.memoryParts(first, true)) return domain.shutdownReason >= 0;
    engine.completeReps(1);
    return true;
  }

  /** The memory side of stringPio, in `lo`: `first` bytes at stringAt[0], the rest at stringAt[1]. */
  private memoryParts(first: number, isWrite: boolean): boolean {
    const { size } = this.parts.engine.exit;
    const whole = this.lo;
    let read = 0;
    for (let done = 0; done < size; done += first) {
      const count = done === 0 ? first : size - first;
      this.lo = whole >>> (done * 8);
      this.hi = 0;
      if (!this.physAccess(this.stringAt[done === 0 ? 0 : 1]!, count, isWrite)) return false;
      read |= lowBytes(this.lo, count) << (done * 8);
    }
    this.lo = read >>> 0;
    return true;
  }

  /** Bytes of one page from or to `lo` and `hi`: memory, or device accesses. */
  private physAccess(gpa: number, size: number, isWrite: boolean): boolean {
    const { guest } = this.parts;
    if (!this.mmioInternal(gpa as Gpa)) {
      if (isWrite ? guest.writePhys(gpa, size, this.lo, this.hi) : guest.readPhys(gpa, size)) {
        if (!isWrite) {
          this.lo = guest.lo;
          this.hi = guest.hi;
        }
        return true;
      }
    }
    return this.mmioAccess(gpa, size, isWrite);
  }

  injectException(vector: number, errorCode: number): void {
    this.parts.domain.pcpu.trace.record(TRC_HVM_INJ_EXC, 2, vector, errorCode);
    this.inject(vector, errorCode);
  }

  injectPageFault(address: bigint, errorCode: number): void {
    const { engine, domain } = this.parts;
    engine.registers.cr2 = address;
    const lo = Number(address & 0xffff_ffffn);
    if (engine.registers.efer & Efer.lma) domain.pcpu.trace.record(TRC_HVM_PF_INJECT64, 3, errorCode, lo, Number(address >> 32n));
    else domain.pcpu.trace.record(TRC_HVM_PF_INJECT, 2, errorCode, lo);
    this.inject(TRAP_pf, errorCode);
  }

  /** hvm_combine_hw_exceptions: one that comes while another is being delivered makes a double fault, then a triple fault. */
  private inject(vector: number, errorCode: number): void {
    const { engine } = this.parts;
    const event = engine.idtVectoring;
    const first = event?.type === EventType.hardwareException ? event.vector : -1;
    if (first === TRAP_df) return this.parts.tripleFault();
    const double = first === TRAP_pf || (isContributory(first) && vector !== TRAP_pf);
    engine.inject(EventType.hardwareException, double ? TRAP_df : vector, double ? 0 : errorCode, 0);
  }

  /**
   * hvmemul_do_io: one request, with its data in `p` for a write (or its guest-physical address when data_is_ptr). Afterwards
   * `p.count` says how many repetitions were done, and the data of a read is in `p`.
   */
  doIo(p: Ioreq): Emul {
    const { servers, state, wait } = this.parts;
    if (p.dir === IOREQ_WRITE) this.traceIoAssist(p);
    if (p.count > 1 && p.type === IoreqType.copy) {
      // A request never crosses into another guest frame: that one may be somebody else's.
      const off = pageOffset(p.addr);
      const tail = PAGE_SIZE - off;
      p.count = tail < p.size ? 1 : Math.min(p.count, Math.floor((p.df ? off + p.size : tail) / p.size));
    }
    const { type, addr } = p;
    let rc = this.intercept(p);
    if (rc === Emul.unhandleable) {
      const server = servers.select(p);
      rc = server < 0 ? this.process(undefined, p) : servers.send(server, state, p, wait);
    }
    // Selection may have made a configuration access of it; the record shows the port.
    p.type = type;
    p.addr = addr;
    if (rc === Emul.okay && p.dir === IOREQ_READ) this.traceIoAssist(p);
    return rc;
  }

  /** hvm_io_intercept: the in-hypervisor handlers, and the VGA hole's way to the buffered page. */
  private intercept(p: Ioreq): Emul {
    const { handlers, state, domain, servers } = this.parts;
    if (p.type === IoreqType.pio) {
      const handler = handlers.findPortio(p.addr, p.size);
      return handler === undefined ? Emul.unhandleable : this.process(handler, p);
    }
    const first = ioreqFirstByte(p) as Gpa;
    const last = ioreqLastByte(p) as Gpa;
    const ops = handlers.findMmio(first, state.id);
    if (ops !== undefined) {
      if (last !== first && !ops.check(last, state.id)) {
        domain.crash(`access 0x${first.toString(16)}-0x${last.toString(16)} runs out of ${ops.name}`);
      }
      return this.process(ops, p);
    }
    // stdvga.c: single writes there go through the buffered page.
    if (first >= VGA_HOLE_BASE && last < VGA_HOLE_END && p.dir === IOREQ_WRITE && !p.dataIsPtr && p.count === 1) {
      const server = servers.select(p);
      if (server >= 0 && servers.sendBuffered(server, p)) return Emul.okay;
    }
    return Emul.unhandleable;
  }

  /**
   * hvm_process_io_intercept: repetition by repetition through one handler (undefined: nobody there, reads are all ones and
   * writes vanish). The count is cut to what the handler took.
   */
  private process(handler: HvmMmioOps | PortioHandler | undefined, p: Ioreq): Emul {
    const { guest, domain } = this.parts;
    const { access } = this;
    const isWrite = p.dir === IOREQ_WRITE;
    const step = p.df ? -p.size : p.size;
    let rc: Emul = Emul.okay;
    let done = 0;
    domain.pcpu.clock.charge(virtualCost.intercept);
    for (; done < p.count; done++) {
      access.isWrite = isWrite;
      access.size = p.size;
      access.address = p.type === IoreqType.copy ? p.addr + step * done : p.addr;
      if (isWrite) {
        if (!p.dataIsPtr) this.mask(p.dataLo, p.dataHi, p.size);
        else if (guest.readPhys(this.pointer(p) + step * done, p.size)) this.mask(guest.lo, guest.hi, p.size);
        else this.mask(0xffff_ffff, 0xffff_ffff, p.size);
      } else {
        access.lo = access.hi = handler === undefined || 'action' in handler ? 0xffff_ffff : 0;
      }
      rc =
        handler === undefined
          ? Emul.okay
          : 'action' in handler
            ? handler.action(access)
            : isWrite
              ? handler.write(access)
              : handler.read(access);
      if (rc !== Emul.okay) break;
      if (isWrite) continue;
      this.mask(access.lo, access.hi, p.size);
      // A pointer at no RAM: the data is dropped, as a bus would.
      if (p.dataIsPtr) guest.writePhys(this.pointer(p) + step * done, p.size, access.lo, access.hi);
      else {
        p.dataLo = access.lo;
        p.dataHi = access.hi;
      }
    }
    if (done > 0) {
      p.count = done;
      return Emul.okay;
    }
    // The next repetition must meet the handler again: never pass a whole batch on.
    if (rc === Emul.unhandleable) p.count = 1;
    return rc;
  }

  /** Repetitions that may go out as one request; below 2: access by access. */
  private repsOfMmio(): number {
    const { exit } = this.parts.engine;
    if (!exit.rep || exit.repCount < 2) return 1;
    if (exit.string !== StringKind.stos && exit.string !== StringKind.movs) return 1;
    const side = exit.isWrite ? exit.destinationGla : exit.sourceGla;
    // The second part of an element that crosses a page, or its first part going down: not a whole element.
    if (exit.gla !== side || (exit.size & (exit.size - 1)) !== 0) return 1;
    const off = pageOffset(exit.gpa);
    if (off + exit.size === PAGE_SIZE && exit.df) return 1;
    const inPage = Math.floor((exit.df ? off + exit.size : PAGE_SIZE - off) / exit.size);
    return Math.min(exit.repCount, MAX_REPS, inPage);
  }

  private singleMmio(): boolean {
    const { engine, domain } = this.parts;
    const { exit } = engine;
    this.lo = exit.dataLo;
    this.hi = exit.dataHi;
    if (!this.mmioAccess(exit.gpa, exit.size, exit.isWrite)) return domain.shutdownReason >= 0;
    engine.completeAccess(exit.isWrite ? 0 : this.lo, exit.isWrite ? 0 : this.hi);
    return true;
  }

  /** hvmemul_phys_mmio_access: `lo` and `hi` to a device of one page, or from it, in chunks of 8, 4, 2, 1 bytes, largest first. */
  private mmioAccess(gpa: number, bytes: number, isWrite: boolean): boolean {
    let size = bytes;
    let chunk = 1 << (31 - Math.clz32(size));
    let lo = 0;
    let hi = 0;
    for (let offset = 0; size > 0; offset += chunk, size -= chunk) {
      while (chunk > size) chunk >>>= 1;
      const p = this.fill(IoreqType.copy, gpa + offset, chunk, isWrite, 1, false);
      if (isWrite) {
        p.dataLo = chunk === 8 || offset === 0 ? this.lo : shiftRight(this.lo, this.hi, offset);
        p.dataHi = chunk === 8 ? this.hi : 0;
        if (chunk < 4) p.dataLo = lowBytes(p.dataLo, chunk);
      }
      if (this.doIo(p) !== Emul.okay) return false;
      if (isWrite) continue;
      if (chunk === 8) {
        lo = p.dataLo;
        hi = p.dataHi;
        continue;
      }
      const value = lowBytes(p.dataLo, chunk);
      if (offset < 4) lo |= value << (offset * 8);
      if (offset >= 4) hi |= value << ((offset - 4) * 8);
      else if (offset + chunk > 4) hi |= value >>> ((4 - offset) * 8);
    }
    this.lo = lo >>> 0;
    this.hi = hi >>> 0;
    return true;
  }

  private repStos(reps: number): boolean {
    const { engine } = this.parts;
    const { exit } = engine;
    const p = this.fill(IoreqType.copy, exit.gpa, exit.size, true, reps, exit.df);
    p.dataLo = exit.dataLo;
    p.dataHi = exit.dataHi;
    return this.finishReps(p);
  }

  /** hvmemul_rep_movs: device memory on one side, RAM on the other. */
  private repMovs(reps: number): boolean {
    const { exit } = this.parts.engine;
    const ram = this.ramSide(exit.isWrite ? exit.sourceGla : exit.destinationGla, exit.isWrite ? 'read' : 'write', reps);
    if (ram === undefined) return true;
    if (ram < 0) return this.singleMmio();
    const p = this.fill(IoreqType.copy, exit.gpa, exit.size, exit.isWrite, this.ramReps(ram, reps), exit.df);
    if (p.count === 0) return this.singleMmio();
    this.setPointer(p, ram);
    return this.finishReps(p);
  }

  /** hvmemul_rep_ins, hvmemul_rep_outs. Undefined: do it access by access. */
  private repPio(isIns: boolean): boolean | undefined {
    const { exit } = this.parts.engine;
    const reps = Math.min(exit.repCount, MAX_REPS);
    const ram = this.ramSide(isIns ? exit.destinationGla : exit.sourceGla, isIns ? 'write' : 'read', reps);
    if (ram === undefined) return true;
    if (ram < 0) return undefined;
    const p = this.fill(IoreqType.pio, exit.port, exit.size, exit.isWrite, this.ramReps(ram, reps), exit.df);
    if (p.count === 0) return undefined;
    this.setPointer(p, ram);
    return this.finishReps(p);
  }

  private finishReps(p: Ioreq): boolean {
    const { engine, domain } = this.parts;
    if (this.doIo(p) !== Emul.okay) return domain.shutdownReason >= 0;
    engine.completeReps(p.count);
    return true;
  }

  /**
   * Guest-physical address of the RAM side of a string access; −1 when it is no plain RAM (then one element at a time);
   * undefined when the guest got a page fault for it.
   */
  private ramSide(address: bigint, access: 'read' | 'write', reps: number): number | undefined {
    const { engine, guest } = this.parts;
    const walk = engine.translate(address as typeof engine.exit.gla, access, 'current');
    if (walk.outcome === 'fault') {
      this.injectPageFault(address, walk.errorCode);
      return undefined;
    }
    if (walk.outcome !== 'ok' || reps < 1) return -1;
    const gfn = gpaToGfn(walk.gpa);
    const type = guest.p2m.getType(gfn);
    if (type === P2mType.mmioDm || type === P2mType.mmioDirect || this.mmioInternal(walk.gpa)) return -1;
    return guest.p2m.ramAddress(walk.gpa) === -1 ? -1 : walk.gpa;
  }

  /** hvmemul_do_io_addr: repetitions whose RAM lies in this page; 0 when the first one crosses its end. */
  private ramReps(ram: number, reps: number): number {
    const { exit } = this.parts.engine;
    const off = pageOffset(ram);
    if (off + exit.size > PAGE_SIZE) return 0;
    return Math.min(reps, exit.df ? Math.floor((off + exit.size) / exit.size) : Math.floor((PAGE_SIZE - off) / exit.size));
  }

  private fill(type: number, addr: number, size: number, isWrite: boolean, count: number, df: boolean): Ioreq {
    const p = this.request;
    p.type = type;
    p.addr = addr;
    p.size = size;
    p.dir = isWrite ? IOREQ_WRITE : IOREQ_READ;
    p.count = count;
    p.df = df;
    p.dataIsPtr = false;
    p.dataLo = p.dataHi = 0;
    return p;
  }

  private setPointer(p: Ioreq, gpa: number): void {
    p.dataIsPtr = true;
    p.dataLo = gpa >>> 0;
    p.dataHi = Math.floor(gpa / 2 ** 32);
  }

  private pointer(p: Ioreq): number {
    return p.dataHi * 2 ** 32 + p.dataLo;
  }

  /** Cut a value to the access's size, into the access. */
  private mask(lo: number, hi: number, size: number): void {
    this.access.lo = lowBytes(lo, size);
    this.access.hi = size === 8 ? hi >>> 0 : 0;
  }

  /** hvmtrace_io_assist: a write before it is done, a read when its answer is in. */
  private traceIoAssist(p: Ioreq): void {
    const { trace } = this.parts.domain.pcpu;
    if (!trace.on) return;
    const wide = p.addr > 0xffff_ffff;
    const event =
      (p.type === IoreqType.copy
        ? p.dir === IOREQ_WRITE
          ? TRC_HVM_IOMEM_WRITE
          : TRC_HVM_IOMEM_READ
        : p.dir === IOREQ_WRITE
          ? TRC_HVM_IOPORT_WRITE
          : TRC_HVM_IOPORT_READ) | (wide ? TRC_64_FLAG : 0);
    if (wide) trace.record(event, p.dataIsPtr ? 2 : 4, p.addr, p.addr / 2 ** 32, p.dataLo, p.dataHi);
    else trace.record(event, p.dataIsPtr ? 1 : 2, p.addr, p.dataLo);
  }
}

/** The 32 bits of a 64-bit value from byte `offset` (1..7) on. */
const shiftRight = (lo: number, hi: number, offset: number): number =>
  (offset >= 4 ? hi >>> ((offset - 4) * 8) : (lo >>> (offset * 8)) | (hi << (32 - offset * 8))) >>> 0;
