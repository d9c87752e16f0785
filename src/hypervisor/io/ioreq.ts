/**
 * ioreq servers (Xen: common/ioreq.c, arch/x86/hvm/ioreq.c): which device model serves an access, the synchronous page with
 * a slot a vCPU, the buffered page. All state lies in machine memory under the `ioreq_server` lock; the pages are frames of
 * the target domain, held by a reference for the life of the server.
 */
import { EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC } from '../../abi/errno.ts';
import {
  BufioreqHandling,
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_SLOT_NUM,
  BUFIOREQ_WRITE_POINTER,
  bufferedSlots,
  type Ioreq,
  IOREQ_VP_EPORT,
  IOREQ_WRITE,
  IoreqState,
  ioreqState,
  IoreqType,
  newIoreq,
  readData,
  readSlot,
  slotAt,
  stateAt,
  withState,
  writeBuffered,
  writeSlot,
} from '../../abi/ioreq.ts';
import { IoRangeType } from '../../abi/dm-op.ts';
import { mfn, mfnToMaddr } from '../../base/address.ts';
import type { Maddr } from '../../base/address.ts';
import { virtualCost } from '../time/clock.ts';
import type { Domain, VcpuState } from '../domain/domain.ts';
import { Emul } from './intercept.ts';
import type { EventChannels } from '../events/event-channel.ts';
import { Lock, LockOrder } from '../mm/lock.ts';
import { Rangeset, rangesetSize } from './rangeset.ts';

const MAX_NR_IOREQ_SERVERS = 8;
/** MAX_NR_IO_RANGES: ranges of each kind of a server. */
const MAX_NR_IO_RANGES = 256;
const RANGE_TYPES = 3;

export const ioreqFirstByte = (p: Ioreq): number => (p.df ? p.addr - (p.count - 1) * p.size : p.addr);
export const ioreqLastByte = (p: Ioreq): number => (p.df ? p.addr : p.addr + (p.count - 1) * p.size) + p.size - 1;

/** ioreq_needs_completion: everything but a port write and what goes to or from memory by itself. */
const ioreqNeedsCompletion = (p: Ioreq): boolean => !p.dataIsPtr && (p.type !== IoreqType.pio || p.dir !== IOREQ_WRITE);

/** How the vCPU's thread waits inside Xen for its device model; the scheduler's part. */
export interface XenWait {
  /** The vCPU stops running (offline) before the request becomes visible. */
  prepare(vcpu: VcpuState): void;
  /** Sleep until the device model's notification. False: the domain is shut down, stop waiting. */
  wait(vcpu: VcpuState): boolean;
  /** The vCPU runs again. */
  finish(vcpu: VcpuState): void;
}

/** A server's words, then its three rangesets. */
const W_ALLOCATED = 0;
const W_ENABLED = 1;
const W_HANDLING = 2;
const W_IOREQ_MFN = 3;
const W_BUFIOREQ_MFN = 4;
const W_BUFIOREQ_PORT = 5;
const W_VCPU_PORTS = 8;
const MAX_VCPUS = 32;
const SERVER_HEADER = (W_VCPU_PORTS + MAX_VCPUS) * 4;
const RANGES_SIZE = rangesetSize(MAX_NR_IO_RANGES);
const SERVER_SIZE = SERVER_HEADER + RANGE_TYPES * RANGES_SIZE;
const HEADER = 8;

export class IoreqServers {
  readonly domain: Domain;
  /** The domain that emulates: dom0. */
  private readonly emulator: number;
  private readonly events: EventChannels;
  private readonly lock: Lock;
  private readonly servers: number;
  private readonly ranges: Rangeset[][];
  private readonly pointers: BigInt64Array;

  constructor(domain: Domain, emulator: number, events: EventChannels) {
    const { memory } = domain.pcpu;
    this.domain = domain;
    this.emulator = emulator;
    this.events = events;
    const base = memory.xenheap(`ioreq_server.d${domain.domid}`, HEADER + MAX_NR_IOREQ_SERVERS * SERVER_SIZE);
    this.lock = new Lock(memory, base, LockOrder.ioreqServer, `ioreq_server.d${domain.domid}`);
    this.servers = base + HEADER;
    this.ranges = Array.from({ length: MAX_NR_IOREQ_SERVERS }, (_, id) =>
      Array.from(
        { length: RANGE_TYPES },
        (__, type) =>
          new Rangeset(memory, (this.servers + id * SERVER_SIZE + SERVER_HEADER + type * RANGES_SIZE) as Maddr, MAX_NR_IO_RANGES),
      ),
    );
    this.pointers = new BigInt64Array(memory.memory.buffer);
  }

  /** Returns the new server's id, or a negated error number. It is disabled at first. */
  create(handleBufioreq: number): number {
    if (
      handleBufioreq !== BufioreqHandling.off &&
      handleBufioreq !== BufioreqHandling.legacy &&
      handleBufioreq !== BufioreqHandling.atomic
    ) {
      return -EINVAL;
    }
    return this.lock.within(() => {
      let id = 0;
      while (id < MAX_NR_IOREQ_SERVERS && this.word(id, W_ALLOCATED) !== 0) id++;
      if (id === MAX_NR_IOREQ_SERVERS) return -ENOSPC;
      const { pages } = this.domain.pcpu;
      const sync = pages.alloc(this.domain.domid);
      const buffered = handleBufioreq === BufioreqHandling.off ? undefined : pages.alloc(this.domain.domid);
      if (sync === undefined || (buffered === undefined && handleBufioreq !== BufioreqHandling.off)) {
        if (sync !== undefined) pages.putPageAllocRef(sync);
        return -ENOMEM;
      }
      this.setWord(id, W_IOREQ_MFN, sync);
      this.setWord(id, W_BUFIOREQ_MFN, buffered ?? 0);
      this.setWord(id, W_HANDLING, handleBufioreq);
      this.setWord(id, W_ENABLED, 0);
      for (const vcpu of this.domain.vcpus) {
        const port = this.events.allocUnboundXen(this.domain, vcpu.id, this.emulator);
        this.setWord(id, W_VCPU_PORTS + vcpu.id, Math.max(0, port));
        this.domain.pcpu.memory.u32[this.slot(id, vcpu.id) + IOREQ_VP_EPORT / 4] = Math.max(0, port);
      }
      this.setWord(
        id,
        W_BUFIOREQ_PORT,
        buffered === undefined ? 0 : Math.max(0, this.events.allocUnboundXen(this.domain, 0, this.emulator)),
      );
      for (const set of this.ranges[id]!) set.clear();
      this.setWord(id, W_ALLOCATED, 1);
      return id;
    });
  }

  destroy(id: number): number {
    return this.lock.within(() => {
      if (!this.exists(id)) return -ENOENT;
      this.setWord(id, W_ENABLED, 0);
      this.setWord(id, W_ALLOCATED, 0);
      for (const vcpu of this.domain.vcpus) this.events.close(this.domain, this.word(id, W_VCPU_PORTS + vcpu.id), false);
      if (this.word(id, W_BUFIOREQ_PORT) !== 0) this.events.close(this.domain, this.word(id, W_BUFIOREQ_PORT), false);
      const { pages } = this.domain.pcpu;
      pages.putPageAllocRef(mfn(this.word(id, W_IOREQ_MFN)));
      if (this.word(id, W_BUFIOREQ_MFN) !== 0) pages.putPageAllocRef(mfn(this.word(id, W_BUFIOREQ_MFN)));
      return 0;
    });
  }

  setState(id: number, enabled: boolean): number {
    return this.lock.within(() => {
      if (!this.exists(id)) return -ENOENT;
      this.setWord(id, W_ENABLED, enabled ? 1 : 0);
      return 0;
    });
  }

  /** Pages as machine addresses (bufioreqPage 0: none), and the target's ports; a negated error number when there is none. */
  info(id: number): { ioreqPage: Maddr; bufioreqPage: Maddr; bufioreqPort: number } | number {
    if (!this.exists(id)) return -ENOENT;
    return {
      ioreqPage: mfnToMaddr(mfn(this.word(id, W_IOREQ_MFN))),
      bufioreqPage: mfnToMaddr(mfn(this.word(id, W_BUFIOREQ_MFN))),
      bufioreqPort: this.word(id, W_BUFIOREQ_PORT),
    };
  }

  /** −EEXIST when any of it is mapped by this server already. */
  mapIoRange(id: number, type: number, start: number, end: number): number {
    return this.withRanges(id, type, start, end, (set) => (set.overlapsRange(start, end) ? -EEXIST : set.addRange(start, end)));
  }

  /** −ENOENT when not all of it is mapped. */
  unmapIoRange(id: number, type: number, start: number, end: number): number {
    return this.withRanges(id, type, start, end, (set) =>
      set.containsRange(start, end) ? set.removeRange(start, end) : -ENOENT,
    );
  }

  /**
   * ioreq_server_select: the enabled server that takes this request, −1 for none. A port access to 0xcfc … 0xcff becomes a
   * PCI_CONFIG request of the function that port 0xcf8 names, if a server holds it.
   */
  select(p: Ioreq): number {
    const cf8 = this.domain.pciCf8;
    const isConfig = p.type === IoreqType.pio && p.addr >= 0xcfc && p.addr <= 0xcff && (cf8 & 0x8000_0000) !== 0;
    for (let id = MAX_NR_IOREQ_SERVERS - 1; id >= 0; id--) {
      if (!this.exists(id) || this.word(id, W_ENABLED) === 0) continue;
      const sets = this.ranges[id]!;
      if (isConfig) {
        const sbdf = (cf8 >>> 8) & 0xffff;
        if (sets[IoRangeType.pci]!.containsRange(sbdf, sbdf)) {
          p.type = IoreqType.pciConfig;
          p.addr = sbdf * 2 ** 32 + ((cf8 & 0xfc) | (p.addr & 3));
          return id;
        }
      } else if (p.type === IoreqType.pio) {
        if (sets[IoRangeType.port]!.containsRange(p.addr, p.addr + p.size - 1)) return id;
      } else if (sets[IoRangeType.memory]!.containsRange(ioreqFirstByte(p), ioreqLastByte(p))) {
        return id;
      }
    }
    return -1;
  }

  /**
   * ioreq_send, synchronous: put the request into this vCPU's slot, tell the device model, wait for its answer; the data
   * read comes back in `p`. `unhandleable` when the slot or its port is not as Xen left it.
   */
  send(id: number, vcpu: VcpuState, p: Ioreq, wait: XenWait): Emul {
    const { memory, clock, log } = this.domain.pcpu;
    const { i32 } = memory;
    const slot = this.slot(id, vcpu.id);
    const port = this.word(id, W_VCPU_PORTS + vcpu.id);
    const state = ioreqState(Atomics.load(i32, stateAt(slot)));
    if (state !== IoreqState.none) {
      log.warn(`d${vcpu.domid}v${vcpu.id} device model set bad IO state ${state}`);
      return Emul.unhandleable;
    }
    const eport = Atomics.load(i32, slot + IOREQ_VP_EPORT / 4) >>> 0;
    if (eport !== port) {
      log.warn(`d${vcpu.domid}v${vcpu.id} device model set bad event channel ${eport}`);
      return Emul.unhandleable;
    }
    clock.charge(virtualCost.ioreqSend);
    wait.prepare(vcpu);
    writeSlot(i32, slot, p);
    this.events.notifyViaXen(this.domain, port);
    const answered = this.waitForIo(vcpu, p, slot, wait);
    wait.finish(vcpu);
    clock.charge(virtualCost.ioreqComplete);
    return answered ? Emul.okay : Emul.unhandleable;
  }

  /**
   * ioreq_send_buffered: append to the buffered page. False when it cannot go there: address above 20 bits, data by
   * pointer, repetitions, odd size, ring full. The caller then sends it synchronously.
   */
  sendBuffered(id: number, p: Ioreq): boolean {
    const frame = this.word(id, W_BUFIOREQ_MFN);
    if (frame === 0) return false;
    const slots = bufferedSlots(p);
    if (slots === 0) return false;
    const { memory, clock } = this.domain.pcpu;
    const { i32 } = memory;
    const page = mfnToMaddr(mfn(frame));
    const done = this.lock.within(() => {
      const readAt = (page + BUFIOREQ_READ_POINTER) >>> 2;
      const writeAt = (page + BUFIOREQ_WRITE_POINTER) >>> 2;
      const write = Atomics.load(i32, writeAt) >>> 0;
      const read = Atomics.load(i32, readAt) >>> 0;
      if ((write - read) >>> 0 > BUFIOREQ_SLOT_NUM - slots) return false;
      writeBuffered(i32, page, write, p);
      Atomics.add(i32, writeAt, slots);
      if (this.word(id, W_HANDLING) === BufioreqHandling.atomic) this.canonicalizePointers(page >>> 2);
      return true;
    });
    if (!done) return false;
    clock.charge(virtualCost.bufferedIoreq);
    this.events.notifyViaXen(this.domain, this.word(id, W_BUFIOREQ_PORT));
    return true;
  }

  /**
   * ioreq_broadcast: the request to every enabled server (map-cache INVALIDATE after pages went away). Returns to how many
   * it could not be sent.
   */
  broadcast(vcpu: VcpuState, p: Ioreq, wait: XenWait): number {
    let failed = 0;
    for (let id = MAX_NR_IOREQ_SERVERS - 1; id >= 0; id--) {
      if (!this.exists(id) || this.word(id, W_ENABLED) === 0) continue;
      if (this.send(id, vcpu, p, wait) !== Emul.okay) failed++;
    }
    return failed;
  }

  /** ioreq_broadcast of a buffered request (TIMEOFFSET). Returns to how many enabled servers it could not be sent. */
  broadcastBuffered(p: Ioreq): number {
    let failed = 0;
    for (let id = MAX_NR_IOREQ_SERVERS - 1; id >= 0; id--) {
      if (!this.exists(id) || this.word(id, W_ENABLED) === 0) continue;
      if (!this.sendBuffered(id, p)) failed++;
    }
    return failed;
  }

  /** Every server's slot of this vCPU and buffered ring, a line each, for a dump. */
  inspect(vcpu: VcpuState): string[] {
    const { i32 } = this.domain.pcpu.memory;
    const p = newIoreq();
    const lines: string[] = [];
    for (let id = 0; id < MAX_NR_IOREQ_SERVERS; id++) {
      if (!this.exists(id)) continue;
      const slot = this.slot(id, vcpu.id);
      const word = Atomics.load(i32, stateAt(slot));
      readSlot(i32, slot, word, p);
      const state = Object.keys(IoreqState)[ioreqState(word)] ?? ioreqState(word);
      const type = Object.entries(IoreqType).find(([, value]) => value === p.type)?.[0] ?? p.type;
      lines.push(
        `ioreq server ${id}: slot ${vcpu.id} ${state}, the last request ${type} ${p.dir === IOREQ_WRITE ? 'write' : 'read'} of ${p.count} × ${p.size} bytes at 0x${p.addr.toString(16)}, ` +
          `data 0x${(p.dataHi * 2 ** 32 + p.dataLo).toString(16)}, port ${i32[slot + IOREQ_VP_EPORT / 4]! >>> 0}`,
      );
      const frame = this.word(id, W_BUFIOREQ_MFN);
      if (frame === 0) continue;
      const page = mfnToMaddr(mfn(frame));
      const waiting =
        (Atomics.load(i32, (page + BUFIOREQ_WRITE_POINTER) >>> 2) - Atomics.load(i32, (page + BUFIOREQ_READ_POINTER) >>> 2)) >>>
        0;
      lines.push(`ioreq server ${id}: ${waiting} slots of the buffered page wait`);
    }
    return lines;
  }

  /** wait_for_io: the state seen may only rise from ready to response; anything else kills the domain (XSA-262). */
  private waitForIo(vcpu: VcpuState, p: Ioreq, slot: number, wait: XenWait): boolean {
    const { i32 } = this.domain.pcpu.memory;
    const at = stateAt(slot);
    const wantsData = ioreqNeedsCompletion(p);
    let previous: number = IoreqState.none;
    for (;;) {
      const word = Atomics.load(i32, at);
      const state = ioreqState(word);
      if (state === IoreqState.none) {
        // The emulator died while it was asked: reads see all ones.
        if (wantsData) p.dataLo = p.dataHi = 0xffff_ffff;
        return true;
      }
      if (state < previous) this.weirdTransition(vcpu, `Weird HVM ioreq state transition ${previous} -> ${state}`);
      if (state > IoreqState.respReady) this.weirdTransition(vcpu, `Weird HVM iorequest state ${state}`);
      previous = state;
      if (state === IoreqState.respReady) {
        if (wantsData) readData(i32, slot, p);
        Atomics.store(i32, at, withState(word, IoreqState.none));
        return true;
      }
      if (!wait.wait(vcpu)) return false;
    }
  }

  private weirdTransition(vcpu: VcpuState, message: string): never {
    this.domain.pcpu.log.warn(`d${vcpu.domid}v${vcpu.id} ${message}`);
    return this.domain.crash(message);
  }

  /** Subtract whole rounds from both pointers at once, so that they never overflow. */
  private canonicalizePointers(page: number): void {
    const both = page / 2;
    for (let round = 0; round < BUFIOREQ_SLOT_NUM; round++) {
      const old = Atomics.load(this.pointers, both);
      const read = Number(old & 0xffff_ffffn);
      if (read < BUFIOREQ_SLOT_NUM) return;
      const rounds = Math.floor(read / BUFIOREQ_SLOT_NUM) * BUFIOREQ_SLOT_NUM;
      const write = (Number((old >> 32n) & 0xffff_ffffn) - rounds) >>> 0;
      Atomics.compareExchange(this.pointers, both, old, BigInt.asIntN(64, (BigInt(write) << 32n) | BigInt(read - rounds)));
    }
  }

  private withRanges(id: number, type: number, start: number, end: number, work: (set: Rangeset) => number): number {
    if (!(start >= 0 && start <= end)) return -EINVAL;
    return this.lock.within(() => {
      if (!this.exists(id)) return -ENOENT;
      const set = this.ranges[id]![type];
      return set === undefined ? -EINVAL : work(set);
    });
  }

  private exists(id: number): boolean {
    return id >= 0 && id < MAX_NR_IOREQ_SERVERS && this.word(id, W_ALLOCATED) !== 0;
  }

  /** The vCPU's slot, as index of a word. */
  private slot(id: number, vcpu: number): number {
    return slotAt(mfnToMaddr(mfn(this.word(id, W_IOREQ_MFN))), vcpu);
  }

  private word(id: number, word: number): number {
    return Atomics.load(this.domain.pcpu.memory.i32, ((this.servers + id * SERVER_SIZE) >>> 2) + word) >>> 0;
  }

  private setWord(id: number, word: number, value: number): void {
    Atomics.store(this.domain.pcpu.memory.i32, ((this.servers + id * SERVER_SIZE) >>> 2) + word, value);
  }
}
