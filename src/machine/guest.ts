/**
 * Guest images: the files a Linux guest boots from, and the initramfs that makes it load its NIC's driver and ping
 * the host. What is fetched and where it is kept stands in guest-node.ts.
 */
import { UserError } from '../base/errors.ts';
import { nicModels } from '../devices/nic/models.ts';
import { type CpioEntry, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, writeCpio } from './cpio.ts';
import { type ModuleInfo, readModuleInfo } from './kernel-module.ts';

/** A Linux guest ready to boot. Paths are of the host. */
export interface GuestImages {
  /** The plain ELF kernel, entered at startup_64. */
  vmlinux: string;
  /** The bzImage it came from (what QEMU's -kernel takes). */
  vmlinuz: string;
  /** The initramfs, a plain newc cpio. */
  initrd: string;
  /** Kernel release, e.g. "6.1.0-56-amd64". */
  version: string;
}

/** NIC drivers the initramfs holds, with what each needs. */
export const guestDrivers: readonly string[] = nicModels.flatMap(({ drivers }) => drivers.map(({ name }) => name));

interface GuestCommandLine {
  /** One of guestDrivers, or several. */
  driver: string | readonly string[];
  /**
   * `ping` pings the host three times by every NIC and powers off; `shell` brings the network up and gives a shell on the console; `load`
   * floods the host with pings and moves bytes both ways; `link` watches the cable go and come.
   */
  mode: 'ping' | 'shell' | 'load' | 'link';
  /** Address of the first NIC with prefix length (the others have the next ones), or `dhcp`. */
  address: string;
  /** Whom to ping. */
  host: string;
}

/** The address plan of the dom0 endpoint, the same as QEMU's user network so that one initramfs serves both. */
const defaultGuestCommandLine: GuestCommandLine = { driver: '8139cp', mode: 'ping', address: '10.0.2.15/24', host: '10.0.2.2' };

/** The kernel command line the init script understands, console on COM1. */
export function guestCommandLine(options: Partial<GuestCommandLine> = {}): string {
  const { driver, mode, address, host } = { ...defaultGuestCommandLine, ...options };
  return `console=ttyS0 xenolith.driver=${[driver].flat().join(',')} xenolith.mode=${mode} xenolith.ip=${address} xenolith.host=${host}`;
}

interface InitramfsParts {
  version: string;
  busybox: Uint8Array;
  /** The init script (guest/init). */
  init: Uint8Array;
  /** Kernel modules, each under its name with its .ko bytes. */
  modules: ReadonlyMap<string, Uint8Array>;
}

/**
 * Build the initramfs: busybox, the init script, the modules, and for every driver the list of modules to insert in
 * order. Gives the cpio bytes: the same parts always give the same bytes.
 */
export function buildInitramfs(parts: InitramfsParts): Uint8Array {
  const infos = new Map<string, ModuleInfo>();
  for (const [name, data] of parts.modules) {
    const info = readModuleInfo(data, `${name}.ko`);
    if (info.vermagic.split(' ')[0] !== parts.version)
      throw new UserError(`${name}.ko is built for kernel ${info.vermagic.split(' ')[0]}, expected ${parts.version}`);
    infos.set(name, info);
  }
  const text = new TextEncoder();
  const directory = (path: string): CpioEntry => ({ path, mode: S_IFDIR | 0o755 });
  const file = (path: string, data: Uint8Array, mode = 0o644): CpioEntry => ({ path, mode: S_IFREG | mode, data });
  const entries: CpioEntry[] = [
    ...['bin', 'dev', 'etc', 'lib', 'lib/modules', 'proc', 'root', 'sys', 'tmp'].map(directory),
    { path: 'dev/console', mode: S_IFCHR | 0o600, device: { major: 5, minor: 1 } },
    { path: 'dev/null', mode: S_IFCHR | 0o666, device: { major: 1, minor: 3 } },
    file('bin/busybox', parts.busybox, 0o755),
    { path: 'bin/sh', mode: S_IFLNK | 0o777, data: text.encode('busybox') },
    file('init', parts.init, 0o755),
  ];
  for (const name of [...parts.modules.keys()].sort()) entries.push(file(`lib/modules/${name}.ko`, parts.modules.get(name)!));
  for (const name of [...parts.modules.keys()].sort())
    entries.push(
      file(
        `lib/modules/${name}.order`,
        text.encode(
          loadOrder(name, infos)
            .map((m) => `${m}\n`)
            .join(''),
        ),
      ),
    );
  return writeCpio(entries);
}

/** Names of the modules to insert for `driver`, each after those it depends on. Throws UserError when one is missing. */
export function loadOrder(driver: string, modules: ReadonlyMap<string, ModuleInfo>): string[] {
  const order: string[] = [];
  const visit = (name: string, path: string[]): void => {
    if (order.includes(name)) return;
    const info = modules.get(name);
    if (info === undefined)
      throw new UserError(`kernel module ${name}, needed by ${path.at(-1) ?? 'the guest'}, is not among the kernel's modules`);
    if (path.includes(name)) throw new UserError(`kernel modules depend on each other in a ring: ${[...path, name].join(' → ')}`);
    for (const needed of info.depends) visit(needed, [...path, name]);
    order.push(name);
  };
  visit(driver, []);
  return order;
}
