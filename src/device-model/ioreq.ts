/**
 * The device model's private copy of one request, and the dispatch of it to ports, memory-mapped registers and PCI
 * configuration space.
 * Source of the behaviour: QEMU hw/i386/xen/xen-hvm.c; layout: abi/ioreq.ts.
 */
import {
  cpuIoreqConfigRead,
  cpuIoreqConfigWrite,
  cpuIoreqMove,
  cpuIoreqPio,
  cpuIoreqPioReadReg,
  cpuIoreqPioWriteReg,
  handleIoreq,
  handleIoreqRead,
  handleIoreqWrite,
  plainRequest,
} from '../abi/dm-log-lines.ts';
import { lowBytes, widthMask } from '../base/width.ts';
import type { Clock } from '../base/clock.ts';
import { type Ioreq, IOREQ_READ, IoreqType, newIoreq } from '../abi/ioreq.ts';
import type { IoSpace } from '../devices/io-space.ts';
import type { PciBus } from '../devices/pci/bus.ts';
import { cost } from './costs.ts';
import type { Dma } from './dma.ts';
import { hex, hex64, whole64 } from '../base/hex.ts';
import type { DmLog } from './log.ts';
import type { MapCache } from './map-cache.ts';

/** The longest string access one request may carry: Xen cuts them at page ends. */
const MAX_REP_BYTES = 4096;
/** What stands for the address of the request's copy in the log; a real device model prints a stack address. */
const req = '0x7ffe5a000000';
const PORT_LIMIT = 0x10000;

/** The copy, and which one it is. One object is refilled for every request. */
export interface ServedIoreq extends Ioreq {
  /** −1: buffered, the vCPU is not named. */
  vcpu: number;
  /** Number of this request since the device model was started, from 1. */
  serial: number;
}

export const newServedIoreq = (): ServedIoreq => ({ ...newIoreq(), vcpu: 0, serial: 0 });

/** What a request may address. */
interface IoreqTargets {
  readonly ports: IoSpace;
  readonly memory: IoSpace;
  readonly pci: PciBus;
  readonly dma: Dma;
  readonly mapCache: MapCache;
  readonly clock: Clock;
  readonly log: DmLog | undefined;
}

/** A request as the log's lines show it. */
const fieldsOf = (r: Ioreq) => ({
  req,
  type: r.type,
  dir: r.dir,
  df: r.df ? 1 : 0,
  ptr: r.dataIsPtr ? 1 : 0,
  port: r.addr,
  data: whole64(r.dataLo, r.dataHi),
  count: r.count,
  size: r.size,
});

/** One line about a request, for comments and messages. */
export function describeIoreq(r: ServedIoreq): string {
  const address = hex(r.addr);
  const where =
    r.type === IoreqType.pio
      ? `port 0x${address}`
      : r.type === IoreqType.copy
        ? `gpa 0x${address}`
        : r.type === IoreqType.pciConfig
          ? `config 0x${address}`
          : `type ${r.type}`;
  const what = r.dataIsPtr
    ? `${r.count} x ${r.size} bytes at gpa 0x${hex64(r.dataLo, r.dataHi)}`
    : `0x${hex64(r.dataLo, r.dataHi)}`;
  return `ioreq ${r.serial}: vCPU ${r.vcpu} ${r.dir === IOREQ_READ ? 'read of' : 'write of'} ${where}, ${r.dir === IOREQ_READ ? '' : `data ${what}, `}size ${r.size}`;
}

export class IoreqDispatch {
  private readonly t: IoreqTargets;
  private readonly log: DmLog | undefined;
  private readonly item = new Uint8Array(8);

  constructor(targets: IoreqTargets) {
    this.t = targets;
    this.log = targets.log;
  }

  /**
   * Serve the request: the answer of a read is left in its data field.
   * @returns undefined, or what is wrong with a request that no hypervisor makes; nothing was done then
   */
  handle(r: Ioreq): string | undefined {
    const log = this.log;
    if (log !== undefined) log.put(log.traces ? handleIoreq : plainRequest, fieldsOf(r));
    if (!r.dataIsPtr && r.dir !== IOREQ_READ && r.size < 8) {
      r.dataHi = 0;
      r.dataLo = lowBytes(r.dataLo, r.size);
    }
    if (log !== undefined && log.traces && r.dir !== IOREQ_READ) log.put(handleIoreqWrite, fieldsOf(r));
    const wrong = this.serve(r);
    if (log !== undefined && log.traces && r.dir === IOREQ_READ) log.put(handleIoreqRead, fieldsOf(r));
    return wrong;
  }

  private serve(r: Ioreq): string | undefined {
    switch (r.type) {
      case IoreqType.pio:
        return this.refuse(r, 4) ?? this.pio(r);
      case IoreqType.copy:
        return this.refuse(r, 8) ?? this.move(r);
      case IoreqType.pciConfig:
        return this.refuse(r, 4) ?? this.config(r);
      case IoreqType.timeOffset:
        return undefined; // the guest's RTC moved: nothing here keeps wall-clock time
      case IoreqType.invalidate:
        this.t.mapCache.invalidate();
        return undefined;
      default:
        return `type ${r.type}`;
    }
  }

  private refuse(r: Ioreq, widest: 4 | 8): string | undefined {
    if (r.size !== 1 && r.size !== 2 && r.size !== 4 && r.size !== widest) return `size ${r.size}`;
    if (r.count * r.size > MAX_REP_BYTES) return `count ${r.count} of ${r.size} bytes, past a page`;
    return undefined;
  }

  private pio(r: Ioreq): undefined {
    const log = this.log !== undefined && this.log.traces ? this.log : undefined;
    if (log !== undefined) log.put(cpuIoreqPio, fieldsOf(r));
    if (!r.dataIsPtr) {
      if (r.dir === IOREQ_READ) {
        r.dataLo = this.in(r);
        r.dataHi = 0;
        if (log !== undefined) log.put(cpuIoreqPioReadReg, fieldsOf(r));
      } else {
        if (log !== undefined) log.put(cpuIoreqPioWriteReg, fieldsOf(r));
        this.out(r, r.dataLo);
      }
      return;
    }
    for (let i = 0; i < r.count; i++) {
      if (r.dir === IOREQ_READ) this.putItem(r, i, this.in(r), 0);
      else {
        this.getItem(r, i);
        this.out(r, this.itemLo());
      }
    }
  }

  private in(r: Ioreq): number {
    this.t.clock.charge(cost.registerAccess);
    if (r.addr >= PORT_LIMIT) return widthMask(r.size);
    return this.t.ports.read(r.addr, r.size);
  }

  private out(r: Ioreq, value: number): void {
    this.t.clock.charge(cost.registerAccess);
    if (r.addr < PORT_LIMIT) this.t.ports.write(r.addr, r.size, value);
  }

  private move(r: Ioreq): undefined {
    const log = this.log !== undefined && this.log.traces ? this.log : undefined;
    if (log !== undefined) log.put(cpuIoreqMove, fieldsOf(r));
    const { memory, clock } = this.t;
    const step = r.df ? -r.size : r.size;
    for (let i = 0; i < r.count; i++) {
      const address = r.addr + i * step;
      clock.charge(cost.registerAccess);
      if (r.dir === IOREQ_READ) {
        const low = memory.read(address, r.size);
        if (r.dataIsPtr) this.putItem(r, i, low, memory.high);
        else {
          r.dataLo = low;
          r.dataHi = memory.high;
        }
      } else if (r.dataIsPtr) {
        this.getItem(r, i);
        memory.write(address, r.size, this.itemLo(), this.itemHi());
      } else {
        memory.write(address, r.size, r.dataLo, r.dataHi);
      }
    }
  }

  private config(r: Ioreq): string | undefined {
    if (r.count !== 1) return `count ${r.count} of a configuration access`;
    const log = this.log !== undefined && this.log.traces ? this.log : undefined;
    const { pci, clock } = this.t;
    const sbdf = Math.floor(r.addr / 2 ** 32);
    const register = r.addr >>> 0;
    clock.charge(cost.configAccess);
    if (r.dir === IOREQ_READ) {
      const value = pci.configRead(sbdf, register, r.size);
      if (r.dataIsPtr) this.putItem(r, 0, value, 0);
      else {
        r.dataLo = value;
        r.dataHi = 0;
      }
      if (log !== undefined) log.put(cpuIoreqConfigRead, { req, sbdf, reg: register, size: r.size, data: value });
      return undefined;
    }
    if (r.dataIsPtr) this.getItem(r, 0);
    const value = r.dataIsPtr ? this.itemLo() : r.dataLo;
    if (log !== undefined) log.put(cpuIoreqConfigWrite, { req, sbdf, reg: register, size: r.size, data: value });
    pci.configWrite(sbdf, register, r.size, value);
    return undefined;
  }

  /** Guest-physical address of item i of a string access. */
  private itemAddress(r: Ioreq, i: number): number {
    return r.dataHi * 0x1_0000_0000 + r.dataLo + (r.df ? -i : i) * r.size;
  }

  private getItem(r: Ioreq, i: number): void {
    this.item.fill(0);
    this.t.dma.read(this.itemAddress(r, i), this.item, 0, r.size);
  }

  private putItem(r: Ioreq, i: number, low: number, high: number): void {
    for (let k = 0; k < 4; k++) {
      this.item[k] = low >>> (k * 8);
      this.item[k + 4] = high >>> (k * 8);
    }
    this.t.dma.write(this.itemAddress(r, i), this.item, 0, r.size);
  }

  private itemLo(): number {
    const b = this.item;
    return (b[0]! | (b[1]! << 8) | (b[2]! << 16) | (b[3]! << 24)) >>> 0;
  }

  private itemHi(): number {
    const b = this.item;
    return (b[4]! | (b[5]! << 8) | (b[6]! << 16) | (b[7]! << 24)) >>> 0;
  }
}
