/** A device of whoever embeds the machine, as plain an interface as can be. */
import { UserError } from '../base/errors.ts';
import type { PlacedDevice } from '../device-model/device-model.ts';

/** Registers of one's own, at ports or in memory: the guest's accesses reach them as ioreqs, through the device model. */
export interface Device {
  /** As the device model's log names it. */
  readonly name: string;
  /** First port, or guest-physical address where there is no RAM, and how many bytes are decoded from there. */
  readonly ports?: { readonly base: number; readonly size: number };
  readonly memory?: { readonly base: number; readonly size: number };
  /** The guest reads 1, 2 or 4 bytes at `offset` from the base; gives the data, unsigned. */
  read(offset: number, size: number): number;
  /** The guest writes; `value` is unsigned. */
  write(offset: number, size: number, value: number): void;
}

/** Places of a device for the device model. @throws UserError for a device without a place */
export function placeDevice(device: Device): PlacedDevice[] {
  const { name, ports, memory } = device;
  const placed = (space: 'port' | 'memory', at: { readonly base: number; readonly size: number } | undefined): PlacedDevice[] =>
    at === undefined
      ? []
      : [
          {
            space,
            base: at.base,
            region: {
              name,
              size: at.size,
              widest: 4,
              read: (offset, size) => device.read(offset, size) >>> 0,
              write: (offset, size, value) => device.write(offset, size, value),
            },
          },
        ];
  const places = [...placed('port', ports), ...placed('memory', memory)];
  if (places.length === 0) throw new UserError(`device '${name}': it lies nowhere; give it ports or memory`);
  return places;
}
