/** Trace events of the buses: QEMU's memory_region_ops_*, pci_cfg_* and pci_update_mappings_*. */
import {
  memoryRegionOpsRead,
  memoryRegionOpsWrite,
  pciCfgRead,
  pciCfgWrite,
  pciUpdateMappingsAdd,
  pciUpdateMappingsDel,
} from '../abi/dm-log-lines.ts';
import { hex } from '../base/hex.ts';
import type { LineFields } from '../base/log-line.ts';
import type { Snapshot } from '../base/snapshot.ts';
import { type IoMapping, type IoProbe, regionKey } from '../devices/io-space.ts';
import type { BarDef } from '../devices/pci/config-space.ts';
import type { PciConfigProbe } from '../devices/pci/bus.ts';
import type { PciDevice } from '../devices/pci/pci-device.ts';
import type { DmLog } from './log.ts';

/** What stands for the address of a memory region's object; each region has its own, in order of first use. */
const REGION_BASE = 0x5600_0000_0000;
const REGION_STEP = 0x110;

/** bus:device.function of a place on bus 0 (a place past 0xff names the bus in its high byte). */
const place = (at: number): string => `${hex(at >>> 8, 2)}:${hex((at >>> 3) & 31, 2)}.${at & 7}`;

/** Keys of regions in the order of their first use. */
export interface RegionTraceState {
  readonly seen: readonly string[];
}

export class RegionTrace implements IoProbe, Snapshot<RegionTraceState> {
  readonly kind = 'regions of the log';
  readonly version = 1;
  private readonly log: DmLog;
  private readonly ids = new Map<string, string>();

  constructor(log: DmLog) {
    this.log = log;
  }

  read(mapping: IoMapping, offset: number, size: number, value: number): void {
    this.log.put(memoryRegionOpsRead, this.access(mapping, offset, size, value));
  }

  write(mapping: IoMapping, offset: number, size: number, value: number): void {
    this.log.put(memoryRegionOpsWrite, this.access(mapping, offset, size, value));
  }

  private access(mapping: IoMapping, offset: number, size: number, value: number): LineFields<typeof memoryRegionOpsRead.text> {
    const { region } = mapping;
    return { cpu: -1, mr: this.id(regionKey(region)), addr: mapping.logBase() + offset, value, size, name: region.name };
  }

  save(): RegionTraceState {
    return { seen: [...this.ids.keys()] };
  }

  restore({ seen }: RegionTraceState): void {
    this.ids.clear();
    for (const key of seen) this.id(key);
  }

  private id(key: string): string {
    let id = this.ids.get(key);
    if (id === undefined) {
      id = `0x${hex(REGION_BASE + this.ids.size * REGION_STEP)}`;
      this.ids.set(key, id);
    }
    return id;
  }
}

export class PciTrace implements PciConfigProbe {
  private readonly log: DmLog;

  constructor(log: DmLog) {
    this.log = log;
  }

  read(device: PciDevice | undefined, at: number, register: number, value: number): void {
    const shown = device === undefined ? 0xffffffff : value;
    this.log.put(pciCfgRead, { name: device?.name ?? 'empty', bdf: place(at), reg: register, value: shown });
  }

  write(device: PciDevice | undefined, at: number, register: number, value: number): void {
    this.log.put(pciCfgWrite, { name: device?.name ?? 'empty', bdf: place(at), reg: register, value });
  }

  moved(device: PciDevice, at: number, bar: BarDef, base: number, mapped: boolean): void {
    const fields = { name: device.name, bdf: place(at), bar: bar.index, base, size: bar.size };
    this.log.put(mapped ? pciUpdateMappingsAdd : pciUpdateMappingsDel, fields);
  }
}
