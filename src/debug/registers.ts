/** Writes of NIC registers by their names. */
import { IoreqType } from '../abi/ioreq.ts';
import type { DeviceModel } from '../device-model/device-model.ts';
import type { ServedIoreq } from '../device-model/ioreq.ts';
import type { PciDevice } from '../devices/pci/pci-device.ts';
import type { NicReading } from '../devices/nic/reading.ts';
import { nicReadings } from '../devices/nic/readings.ts';

export interface RegisterWrite {
  /** `rtl8139.0`, as the machine names it. */
  readonly nic: string;
  readonly register: string;
  readonly offset: number;
  readonly value: number;
  /** What the value says, field by field, where the chip's table tells. */
  readonly text: string;
}

export const readingOf = (model: string): NicReading | undefined => nicReadings.find(({ name }) => name === model);

/** The mode that registers are read in, where a chip has several: what its state says. */
export function modeOf(device: PciDevice): string | undefined {
  const state = device.save() as { cplusEnabled?: boolean };
  return state.cplusEnabled === undefined ? undefined : state.cplusEnabled ? 'C+' : 'C';
}

/** The NIC register that a request wrote; undefined: it wrote none. */
export function registerWrite({ nics }: DeviceModel, request: ServedIoreq): RegisterWrite | undefined {
  const kind = request.type === IoreqType.pio ? 'io' : 'mem';
  for (const port of nics) {
    const device = port.nic as unknown as PciDevice;
    for (const bar of device.config.bars) {
      const base = device.config.barBase(bar);
      if (bar.kind !== kind || base < 0 || request.addr < base || request.addr >= base + bar.size) continue;
      const reading = readingOf(device.name);
      const block = reading?.blocks.find(({ bar: at }) => at === 0x10 + bar.index * 4);
      const offset = request.addr - base;
      const value = request.dataLo >>> 0;
      const mode = modeOf(device);
      const explained =
        reading && block ? reading.explain(block, { offset, width: request.size, value, mode, dir: 'write' }) : [];
      const register = (reading && block && reading.registerAt(block, offset, mode)) ?? `0x${offset.toString(16)}`;
      return {
        nic: port.name,
        register,
        offset,
        value,
        text: explained.map(({ name, fields }) => (fields === '' ? name : `${name} (${fields})`)).join('; '),
      };
    }
  }
  return undefined;
}
