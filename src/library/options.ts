/** What a machine is made of, as an embedder says it. */
import { UserError } from '../base/errors.ts';
import type { NicOptions } from '../device-model/nics.ts';
import { nicModel } from '../device-model/nics.ts';
import { parseMac } from '../net/frame.ts';
import type { Device } from '../machine/custom-device.ts';
import type { Hub } from './hub.ts';

/**
 * An image: its bytes, or where they are. A string is a URL in a browser and a path or a URL in Node. `{ buffer }` and
 * `{ url }` are v86's forms.
 */
export type ImageSource =
  | string
  | URL
  | Uint8Array
  | ArrayBuffer
  | Blob
  | { readonly buffer: ArrayBuffer | Uint8Array }
  | { readonly url: string | URL };

/** One emulated NIC. */
export interface NicConfig {
  /** QEMU's name of the chip: `rtl8139`. */
  readonly model: string;
  /** Six hexadecimal bytes with colons; default 00:16:3e:00:00:01, :02 and so on. */
  readonly mac?: string;
  /** PCI revision; default the chip's own. Linux' 8139too wants 0x10 of an RTL8139. */
  readonly revision?: number;
  /**
   * Who is at the other end of the cable. `dom0` (default): a small host at 10.0.2.2 that answers ARP and ping and serves DHCP.
   * `none`: nobody but `injectFrame` and the event `frame`. A Hub: whoever else is attached to it.
   */
  readonly network?: 'dom0' | 'none' | Hub;
}

/** Which records a machine makes. All of them go out as events; `keep` keeps them too, for `stories()` and `records()`. */
export interface RecordsWanted {
  /** The trace, in xentrace's format; a number is xentrace's event mask. Default false. */
  readonly trace?: boolean | number;
  /** The device model's log; `trace` (default of true): QEMU's trace events, `classic`: I/O request lines. */
  readonly log?: boolean | 'trace' | 'classic';
  /** What crosses the first NIC's cable, as pcapng. */
  readonly capture?: boolean;
  /** Default true. */
  readonly keep?: boolean;
}

/** Where a machine runs. */
export type Placement =
  /** On the calling thread, in short turns between which its event loop goes on. Memory is not shared. */
  | 'here'
  /** On one Worker, the device model inline. */
  | 'worker'
  /** Guest and device model on a Worker each; real time and shared memory only. */
  | 'threads';

/** Options of a Machine. */
export interface MachineOptions {
  /** A Multiboot or ELF image (vmlinux), or a bzImage (vmlinuz). */
  readonly kernel: ImageSource;
  readonly initrd?: ImageSource;
  readonly commandLine?: string;
  /** MiB of guest memory; default 128. */
  readonly memory?: number;
  /** How an ELF kernel is entered: `hvm` by its entry point, `pvh` by its PVH note. Default hvm. */
  readonly type?: 'hvm' | 'pvh';
  /** Name of the domain; default `guest`. */
  readonly name?: string;
  /** Default: one rtl8139 with dom0 at the other end. */
  readonly nics?: readonly NicConfig[];
  /** `virtual` (default): instructions and declared costs, runs repeat to the byte; `host`: real time. */
  readonly clock?: 'virtual' | 'host';
  /** Nanoseconds of the virtual clock for a nanosecond of real time; default Infinity: as fast as it goes. */
  readonly speed?: number;
  /**
   * The virtual clock counts to the instruction, however the guest's code is compiled, so that `travel()` goes to and fro in the very same
   * run; slower. Default false.
   */
  readonly exact?: boolean;
  /** Seed of the order in which machine frames are handed out; default 1. */
  readonly seed?: number;
  readonly records?: RecordsWanted;
  /**
   * Devices beside the machine's own: with `placement: 'here'` the objects themselves, else the URL of a module whose default
   * export is a list of them, which the device model's thread imports.
   */
  readonly devices?: readonly Device[] | string | URL;
  /** Default: `threads` where the clock is the host's and memory can be shared, else `worker`; `here` without Workers. */
  readonly placement?: Placement;
  /** Seconds of the machine's clock after which it ends with the outcome `timeout`; default: never. */
  readonly timeLimit?: number;
}

/** Xen's own MAC prefix with a number of ours, for a NIC that names none. */
const defaultMac = (index: number): string => `00:16:3e:00:00:${(index + 1).toString(16).padStart(2, '0')}`;

/** @throws UserError for a model or an address that is none */
export function nicOptionsOf(nics: readonly NicConfig[]): NicOptions[] {
  return nics.map(({ model, mac, revision, network = 'dom0' }, i) => {
    nicModel(model);
    return {
      model,
      mac: parseMac(mac ?? defaultMac(i)),
      ...(revision === undefined ? {} : { revision }),
      ...(network === 'dom0' ? {} : { wire: 'own' as const }),
    };
  });
}

/** @throws UserError for a placement that cannot be */
export function placementOf(
  { placement, clock, devices }: Pick<MachineOptions, 'placement' | 'clock' | 'devices'>,
  platform: { readonly hasWorkers: boolean; readonly isShared: boolean },
): Placement {
  if (Array.isArray(devices) && (placement ?? 'here') !== 'here')
    throw new UserError(
      `devices: objects with functions cannot go to another thread; set placement: 'here', or give the URL of a module`,
    );
  if (placement === 'threads' && clock !== 'host')
    throw new UserError("placement: 'threads' works in real time only; set clock: 'host' too");
  if (placement === 'threads' && !platform.isShared)
    throw new UserError(
      "placement: 'threads' needs shared memory; serve the page with COOP and COEP headers, or leave placement out",
    );
  if (placement !== undefined && placement !== 'here' && !platform.hasWorkers)
    throw new UserError(`placement: '${placement}' needs Workers, which are not here; set placement: 'here'`);
  if (placement !== undefined) return placement;
  if (!platform.hasWorkers || Array.isArray(devices)) return 'here';
  return clock === 'host' && platform.isShared ? 'threads' : 'worker';
}
