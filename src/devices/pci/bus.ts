/**
 * A PCI bus with one segment: holds functions by device and function number, puts their BARs into the port and
 * memory spaces as configuration changes, and carries their interrupt pins.
 * Source: PCI Local Bus Specification 3.0, chapters 2.2.6, 3.2.2.3 and 6.
 */
import { widthMask } from '../registers.ts';
import type { DebugLog, DeviceClock, DmaBus } from '../interfaces.ts';
import type { IoMapping, IoRegion, IoSpace } from '../io-space.ts';
import type { BarDef } from './config-space.ts';
import type { PciDevice, PciSlot } from './pci-device.ts';

/** Device number 7:3, function number 2:0. */
export const devfn = (device: number, fn: number): number => (device << 3) | fn;

/** Link 0 (A) to 3 (D) that pin `intx` (0 = INTA#) of a device drives on this board. */
export const pciLink = (device: number, intx: number): number => (device + intx) & 3;

/** Watches configuration accesses that reach a function, or an empty place (`device` undefined). */
export interface PciConfigProbe {
  read(device: PciDevice | undefined, at: number, register: number, value: number): void;
  write(device: PciDevice | undefined, at: number, register: number, value: number): void;
  /** A BAR starts to decode at `base`, or (`mapped` false) stops. */
  moved(device: PciDevice, at: number, bar: BarDef, base: number, mapped: boolean): void;
}

interface PciBusOptions {
  readonly ports: IoSpace;
  readonly memory: IoSpace;
  readonly dma: DmaBus;
  readonly clock: DeviceClock;
  /** A function's pin changed: device number, intx 0 (INTA#) to 3 (INTD#). */
  readonly setIntx: (device: number, intx: number, level: boolean) => void;
  readonly probe?: PciConfigProbe | undefined;
}

export interface AttachOptions {
  /** A BAR that is only a second window onto another BAR's block: logs show the other's addresses for it. */
  readonly aliases?: Readonly<Record<number, number>>;
}

/** A BAR as a region of registers. */
class BarRegion implements IoRegion {
  readonly name: string;
  readonly key: string;
  readonly size: number;
  readonly widest = 4;
  readonly bar: BarDef;
  private readonly device: PciDevice;
  mapping: IoMapping | undefined;

  constructor(device: PciDevice, at: number, bar: BarDef) {
    this.name = bar.name ?? device.name;
    this.key = `${device.name} ${at} ${bar.index}`;
    this.size = bar.size;
    this.bar = bar;
    this.device = device;
  }

  read(offset: number, size: number): number {
    return this.device.readBar(this.bar.index, offset, size);
  }

  write(offset: number, size: number, value: number): void {
    this.device.writeBar(this.bar.index, offset, size, value);
  }
}

export class PciBus {
  readonly probe: PciConfigProbe | undefined;
  private readonly options: PciBusOptions;
  private readonly functionTable = new Map<number, PciDevice>();

  constructor(options: PciBusOptions) {
    this.options = options;
    this.probe = options.probe;
  }

  /** The slot that the function at `at` is built into; attach() then puts the function there. */
  slot(at: number, log?: DebugLog): PciSlot {
    const { dma, clock, setIntx } = this.options;
    return {
      dma,
      clock,
      log,
      setIrq: (level) => {
        const pin = this.functionTable.get(at)?.config.bytes[0x3d] ?? 0;
        if (pin > 0) setIntx(at >>> 3, pin - 1, level);
      },
    };
  }

  attach(at: number, device: PciDevice, options: AttachOptions = {}): void {
    if (this.functionTable.has(at))
      throw new RangeError(`PCI function ${(at >>> 3).toString(16)}.${at & 7} is taken by ${this.functionTable.get(at)!.name}`);
    this.functionTable.set(at, device);
    const regions = device.config.bars.map((bar) => new BarRegion(device, at, bar));
    const decode = (): void => {
      for (const region of regions) {
        const base = device.config.barBase(region.bar);
        if (base === (region.mapping?.base ?? -1)) continue;
        const space = region.bar.kind === 'io' ? this.options.ports : this.options.memory;
        if (region.mapping) {
          this.probe?.moved(device, at, region.bar, region.mapping.base, false);
          space.remove(region.mapping);
        }
        if (base >= 0) this.probe?.moved(device, at, region.bar, base, true);
        const target = options.aliases?.[region.bar.index];
        const original = target === undefined ? undefined : regions.find((other) => other.bar.index === target);
        region.mapping =
          base < 0
            ? undefined
            : space.add(region, base, { priority: 1, ...(original ? { logBase: () => original.mapping?.base ?? 0 } : {}) });
      }
    };
    device.config.decodeChanges.add(decode);
    decode();
  }

  function(at: number): PciDevice | undefined {
    return this.functionTable.get(at);
  }

  /** Functions with their places, ascending. */
  get functions(): readonly (readonly [number, PciDevice])[] {
    return [...this.functionTable].sort(([a], [b]) => a - b);
  }

  /** Software reads 1, 2 or 4 bytes of a function's configuration space; ones where no function is. */
  configRead(at: number, register: number, size: number): number {
    const device = this.functionTable.get(at);
    const value = device === undefined ? widthMask(size) : device.readConfig(register, size);
    this.probe?.read(device, at, register, value);
    return value;
  }

  configWrite(at: number, register: number, size: number, value: number): void {
    const device = this.functionTable.get(at);
    this.probe?.write(device, at, register, value);
    device?.writeConfig(register, size, value);
  }

  reset(): void {
    for (const device of this.functionTable.values()) device.reset();
  }
}
