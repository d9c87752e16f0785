/**
 * The other side of the device model's contract for specs: shared pages with Xen's layouts over a plain
 * WebAssembly memory, a p2m that is not the identity, 2-level event channels, and a guest that makes accesses.
 */
import type { DeviceModelHypercalls, IoreqServerInfo, IoRangeType } from '../../abi/dm-op.ts';
import { EEXIST, EINVAL, ENOENT } from '../../abi/errno.ts';
import {
  SHARED_INFO_EVTCHN_MASK,
  SHARED_INFO_EVTCHN_PENDING,
  VCPU_INFO_PENDING_SEL,
  VCPU_INFO_UPCALL_PENDING,
} from '../../abi/event-channel.ts';
import {
  BUFIOREQ_READ_POINTER,
  BUFIOREQ_WRITE_POINTER,
  bufferedSlots,
  IOREQ_READ,
  IOREQ_VP_EPORT,
  IOREQ_WRITE,
  IoreqState,
  ioreqState,
  IoreqType,
  newIoreq,
  readData,
  slotAt,
  stateAt,
  withState,
  writeBuffered,
  writeSlot,
} from '../../abi/ioreq.ts';
import { PAGE_SIZE, maddr, type Gfn, type Maddr } from '../../base/address.ts';
import type { Clock } from '../../base/clock.ts';
import type { DeviceModel } from '../device-model.ts';

const SHARED_INFO_FRAME = 1;
const IOREQ_FRAME = 2;
const BUFIOREQ_FRAME = 3;
const FUTEX_FRAME = 4;
const FIRST_RAM_FRAME = 16;
const REMOTE_PORT = 100;
export const VCPU_PORT = 10;
export const BUFFERED_PORT = 70;

/** A clock that specs move by hand; charges move it too. */
export class HandClock implements Clock {
  readonly kind = 'virtual';
  readonly tscHz = 1e9;
  readonly epochUs = 1_700_000_000_000_000;
  ns = 0;

  nowNs(): number {
    return this.ns;
  }

  tsc(): number {
    return this.ns;
  }

  charge(ns: number): void {
    this.ns += ns;
  }
}

export interface Access {
  readonly type?: number;
  readonly addr: number;
  readonly size?: number;
  /** Present: a write of this value (or of `ptr`). */
  readonly write?: number | bigint;
  readonly count?: number;
  /** Guest-physical address of the data of a string access. */
  readonly ptr?: number;
  readonly df?: boolean;
  readonly vcpu?: number;
}

export class FakeHypervisor implements DeviceModelHypercalls {
  readonly memory: WebAssembly.Memory;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly sharedInfo: Maddr = maddr(SHARED_INFO_FRAME * PAGE_SIZE);
  readonly futex: Maddr = maddr(FUTEX_FRAME * PAGE_SIZE);
  readonly ioreqPage = IOREQ_FRAME * PAGE_SIZE;
  readonly ring = BUFIOREQ_FRAME * PAGE_SIZE;
  /** mfn by gfn. */
  readonly p2m = new Map<number, number>();
  /** References held by foreign mappings, by mfn. */
  readonly references = new Map<number, number>();
  readonly ranges = new Set<string>();
  /** Hypercalls with an effect outside: interrupts, routes, shutdown. */
  readonly calls: string[] = [];
  readonly sent: number[] = [];
  foreignMaps = 0;
  deviceModel: DeviceModel | undefined;
  private readonly vcpus: number;
  private readonly request = newIoreq();

  /**
   * @param ramPages guest RAM from gfn 0 on, with a hole at 0xa0-0xbf; frames are handed out backwards
   * @param memory of an earlier hypervisor, zeroed, to be used again
   */
  constructor(ramPages = 1024, vcpus = 1, memory = new WebAssembly.Memory({ initial: 512, maximum: 512, shared: true })) {
    this.vcpus = vcpus;
    this.memory = memory;
    this.words = new Int32Array(this.memory.buffer);
    this.bytes = new Uint8Array(this.memory.buffer);
    for (let gfn = 0; gfn < ramPages; gfn++)
      if (gfn < 0xa0 || gfn >= 0xc0) this.p2m.set(gfn, FIRST_RAM_FRAME + ramPages - 1 - gfn);
    this.bytes.fill(0xff, this.sharedInfo + SHARED_INFO_EVTCHN_MASK, this.sharedInfo + SHARED_INFO_EVTCHN_MASK + 512);
  }

  createIoreqServer(): number {
    for (let vcpu = 0; vcpu < this.vcpus; vcpu++)
      this.words[slotAt(this.ioreqPage, vcpu) + IOREQ_VP_EPORT / 4] = REMOTE_PORT + vcpu;
    return 0;
  }

  getIoreqServerInfo(): IoreqServerInfo {
    return { ioreqPage: maddr(this.ioreqPage), bufioreqPage: maddr(this.ring), bufioreqPort: BUFFERED_PORT };
  }

  mapIoRange(_id: number, type: IoRangeType, start: number, end: number): number {
    for (const range of this.ranges) {
      const [t, s, e] = range.split(':').map(Number) as [number, number, number];
      if (t === type && start <= e && end >= s) return -EEXIST;
    }
    if (start > end) return -EINVAL;
    this.ranges.add(`${type}:${start}:${end}`);
    return 0;
  }

  unmapIoRange(_id: number, type: IoRangeType, start: number, end: number): number {
    return this.ranges.delete(`${type}:${start}:${end}`) ? 0 : -ENOENT;
  }

  setIoreqServerState(_id: number, enabled: boolean): number {
    this.calls.push(`state ${enabled}`);
    return 0;
  }

  destroyIoreqServer(): number {
    this.ranges.clear();
    return 0;
  }

  setPciIntxLevel(segment: number, bus: number, device: number, intx: number, level: 0 | 1): number {
    this.calls.push(`intx ${segment}:${bus}:${device}.${intx}=${level}`);
    return 0;
  }

  setIsaIrqLevel(irq: number, level: 0 | 1): number {
    this.calls.push(`isa ${irq}=${level}`);
    return 0;
  }

  setPciLinkRoute(link: number, irq: number): number {
    this.calls.push(`link ${link}=${irq}`);
    return 0;
  }

  modifiedMemory(first: Gfn, count: number): number {
    this.calls.push(`modified ${first}+${count}`);
    return 0;
  }

  remoteShutdown(reason: number): number {
    this.calls.push(`shutdown ${reason}`);
    return 0;
  }

  nrVcpus(): number {
    return this.vcpus;
  }

  foreignMap(first: Gfn, count: number, out: Int32Array): number {
    this.foreignMaps++;
    for (let i = 0; i < count; i++) {
      const mfn = this.p2m.get(first + i);
      out[i] = mfn === undefined ? -1 : mfn * PAGE_SIZE;
      if (mfn !== undefined) this.references.set(mfn, (this.references.get(mfn) ?? 0) + 1);
    }
    return 0;
  }

  foreignUnmap(_first: Gfn, count: number, mapped: Int32Array): number {
    for (let i = 0; i < count; i++) {
      if (mapped[i] === -1) continue;
      const mfn = (mapped[i]! >>> 0) / PAGE_SIZE;
      this.references.set(mfn, this.references.get(mfn)! - 1);
    }
    return 0;
  }

  bindInterdomain(remotePort: number): number {
    return remotePort >= REMOTE_PORT && remotePort < REMOTE_PORT + this.vcpus ? VCPU_PORT + remotePort - REMOTE_PORT : -EINVAL;
  }

  evtchnSend(localPort: number): number {
    this.sent.push(localPort);
    return 0;
  }

  evtchnUnmask(port: number): number {
    const word = (this.sharedInfo + SHARED_INFO_EVTCHN_MASK) / 4 + (port >>> 5);
    Atomics.and(this.words, word, ~(1 << (port & 31)));
    if (Atomics.load(this.words, (this.sharedInfo + SHARED_INFO_EVTCHN_PENDING) / 4 + (port >>> 5)) & (1 << (port & 31)))
      this.upcall(port);
    return 0;
  }

  /** Raise one of the device model's ports, as a notification from the hypervisor does. */
  raise(port: number): void {
    Atomics.or(this.words, (this.sharedInfo + SHARED_INFO_EVTCHN_PENDING) / 4 + (port >>> 5), 1 << (port & 31));
    if (!this.isMasked(port)) this.upcall(port);
  }

  isMasked(port: number): boolean {
    return (Atomics.load(this.words, (this.sharedInfo + SHARED_INFO_EVTCHN_MASK) / 4 + (port >>> 5)) & (1 << (port & 31))) !== 0;
  }

  private upcall(port: number): void {
    const bit = port >>> 6;
    Atomics.or(this.words, (this.sharedInfo + VCPU_INFO_PENDING_SEL) / 4 + (bit >>> 5), 1 << (bit & 31));
    Atomics.store(this.bytes, this.sharedInfo + VCPU_INFO_UPCALL_PENDING, 1);
    Atomics.add(this.words, this.futex / 4, 1);
    Atomics.notify(this.words, this.futex / 4);
  }

  /** State of a slot. */
  state(vcpu = 0): number {
    return ioreqState(this.words[stateAt(slotAt(this.ioreqPage, vcpu))]!);
  }

  setState(state: number, vcpu = 0): void {
    const at = stateAt(slotAt(this.ioreqPage, vcpu));
    this.words[at] = withState(this.words[at]!, state);
  }

  /** Fill a slot and set it READY; the caller notifies. */
  post(access: Access): void {
    const p = this.request;
    const data = BigInt(access.ptr ?? access.write ?? 0);
    p.type = access.type ?? IoreqType.copy;
    p.addr = access.addr;
    p.dataLo = Number(data & 0xffffffffn);
    p.dataHi = Number((data >> 32n) & 0xffffffffn);
    p.count = access.count ?? 1;
    p.size = access.size ?? 4;
    p.dir = access.write === undefined ? IOREQ_READ : IOREQ_WRITE;
    p.df = access.df ?? false;
    p.dataIsPtr = access.ptr !== undefined;
    writeSlot(this.words, slotAt(this.ioreqPage, access.vcpu ?? 0), p);
  }

  /** Make an access and have the device model serve it; gives the data of a read. Throws unless it was answered. */
  access(access: Access): bigint {
    const vcpu = access.vcpu ?? 0;
    const before = this.sent.length;
    this.post(access);
    this.raise(VCPU_PORT + vcpu);
    this.deviceModel!.runUntilIdle();
    if (this.state(vcpu) !== IoreqState.respReady || this.sent[before] !== VCPU_PORT + vcpu)
      throw new Error(`ioreq not answered: state ${this.state(vcpu)}`);
    this.setState(IoreqState.none, vcpu);
    readData(this.words, slotAt(this.ioreqPage, vcpu), this.request);
    return (BigInt(this.request.dataHi) << 32n) | BigInt(this.request.dataLo);
  }

  read(addr: number, size = 4): number {
    return Number(this.access({ addr, size }));
  }

  write(addr: number, size: number, value: number): void {
    this.access({ addr, size, write: value });
  }

  in(port: number, size: number): number {
    return Number(this.access({ type: IoreqType.pio, addr: port, size }));
  }

  out(port: number, size: number, value: number): void {
    this.access({ type: IoreqType.pio, addr: port, size, write: value });
  }

  /** Put one request into the buffered ring as Xen does; `value` takes two slots when size is 8. */
  buffer(addr: number, size: 1 | 2 | 4 | 8, value: bigint, type: number = IoreqType.copy): void {
    const p = { ...newIoreq(), type, addr, size, count: 1, dataLo: Number(value & 0xffffffffn), dataHi: Number(value >> 32n) };
    const write = (this.ring + BUFIOREQ_WRITE_POINTER) >>> 2;
    writeBuffered(this.words, this.ring, this.words[write]! >>> 0, p);
    this.words[write]! += bufferedSlots(p);
  }

  get ringPointers(): [number, number] {
    return [BUFIOREQ_READ_POINTER, BUFIOREQ_WRITE_POINTER].map((at) => this.words[(this.ring + at) >>> 2]! >>> 0) as [
      number,
      number,
    ];
  }

  /** Guest RAM by guest-physical address. */
  poke(gpa: number, data: ArrayLike<number>): void {
    for (let i = 0; i < data.length; i++) this.bytes[this.maddr(gpa + i)] = data[i]!;
  }

  peek(gpa: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => this.bytes[this.maddr(gpa + i)]!);
  }

  maddr(gpa: number): number {
    const mfn = this.p2m.get(Math.floor(gpa / PAGE_SIZE));
    if (mfn === undefined) throw new Error(`gpa 0x${gpa.toString(16)} is no RAM`);
    return mfn * PAGE_SIZE + (gpa % PAGE_SIZE);
  }
}
