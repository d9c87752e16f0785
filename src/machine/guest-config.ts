/** From a guest's configuration to what the device model takes. */
import type { NicOptions } from '../device-model/nics.ts';
import { parseMac } from '../net/frame.ts';
import type { GuestDriver } from './guest.ts';
import type { XlVif } from './xl-cfg.ts';

/** Xen's own MAC prefix with a number of ours, for a vif that names none. */
const defaultMac = (index: number): string => `00:16:3e:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
/** The driver 8139too refuses the C+ chip's revision, 0x20. */
const REVISION: Readonly<Record<GuestDriver, number>> = { '8139cp': 0x20, '8139too': 0x10 };

export const nicOptions = (vifs: readonly XlVif[], driver: GuestDriver): NicOptions[] =>
  vifs.map(({ model, mac }, i) => ({ model, mac: parseMac(mac ?? defaultMac(i)), revision: REVISION[driver] }));
