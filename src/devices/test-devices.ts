/**
 * The devices that test programs for virtual machines expect of QEMU: isa-debug-exit, fw_cfg's port interface with the number of
 * processors and the size of memory, and pc-testdev. A machine has them on request only.
 * Sources: QEMU, docs/specs/fw_cfg.rst; hw/misc/debugexit.c and pc-testdev.c for ports and sizes.
 */
import type { Snapshot } from '../base/snapshot.ts';
import type { IoRegion } from './io-space.ts';
import { copyState } from './state.ts';

export interface TestDeviceOptions {
  readonly vcpus: number;
  /** Bytes of memory that the guest was given. */
  readonly memoryBytes: number;
}

export interface TestDeviceHost {
  /** The guest ends its run: exit status of the process, an odd byte. */
  exit(status: number): void;
  /** Level of one ISA interrupt line. */
  setIsaIrq(irq: number, level: boolean): void;
}

/** Where a region lies. */
export interface Placed {
  readonly space: 'port' | 'memory';
  readonly base: number;
  readonly region: IoRegion;
  /** What the region remembers, where it does. */
  readonly state?: Snapshot<unknown>;
}

/** A region that remembers. */
interface Remembering {
  readonly region: IoRegion;
  readonly state: Snapshot<unknown>;
}

const DEBUG_EXIT_PORT = 0xf4;
const FW_CFG_PORT = 0x510;
const TESTDEV_IOPORT = 0xe0;
const TESTDEV_FLUSH = 0xe4;
const TESTDEV_IRQ = 0x2000;
const TESTDEV_IRQ_LINES = 24;
const TESTDEV_IOMEM = 0xff000000;
const TESTDEV_IOMEM_SIZE = 0x10000;
const ISA_IRQS = 16;

/** Keys of fw_cfg. */
const FwCfg = { signature: 0x00, id: 0x01, ramSize: 0x03, nbCpus: 0x05, maxCpus: 0x0f } as const;

const littleEndian = (value: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);

/** isa-debug-exit: a write of v ends the machine with exit status 2v + 1, so that no program can claim success by writing nothing. */
const debugExit = (exit: (status: number) => void): IoRegion => ({
  name: 'isa-debug-exit',
  size: 4,
  widest: 4,
  read: () => 0,
  write: (_offset, _size, value) => exit(((value << 1) | 1) & 0xff),
});

/** fw_cfg: a 16-bit write selects an item, byte reads of either port give its bytes, zeros behind its end. */
function fwCfg({ vcpus, memoryBytes }: TestDeviceOptions): Remembering {
  const items = new Map<number, Uint8Array>([
    [FwCfg.signature, new TextEncoder().encode('QEMU')],
    [FwCfg.id, littleEndian(1, 4)], // the port interface, no DMA
    [FwCfg.ramSize, littleEndian(memoryBytes, 8)],
    [FwCfg.nbCpus, littleEndian(vcpus, 2)],
    [FwCfg.maxCpus, littleEndian(vcpus, 2)],
  ]);
  let key = -1;
  let item: Uint8Array | undefined;
  let next = 0;
  const select = (wanted: number): void => {
    key = wanted;
    item = items.get(wanted);
    next = 0;
  };
  const region: IoRegion = {
    name: 'fwcfg',
    size: 2,
    widest: 2,
    read: (_offset, size) => (size === 1 ? (item?.[next++] ?? 0) : 0xffff),
    write: (_offset, size, value) => {
      if (size === 2) select(value);
    },
  };
  const state: Snapshot<{ key: number; next: number }> = {
    kind: 'fwcfg',
    version: 1,
    save: () => ({ key, next }),
    restore: (from) => {
      select(from.key);
      next = from.next;
    },
  };
  return { region, state: state as Snapshot<unknown> };
}

/** Bytes that are read as they were written. */
function memoryRegion(name: string, size: number): Remembering {
  const bytes = new Uint8Array(size);
  const word = (offset: number, count: number): number => {
    let value = 0;
    for (let i = 0; i < count; i++) value |= bytes[offset + i]! << (8 * i);
    return value >>> 0;
  };
  const region: IoRegion = {
    name,
    size,
    widest: 4,
    read: word,
    write: (offset, count, value) => {
      for (let i = 0; i < count; i++) bytes[offset + i] = value >>> (8 * i);
    },
  };
  const state: Snapshot<{ bytes: Uint8Array }> = {
    kind: name,
    version: 1,
    save: () => ({ bytes: bytes.slice() }),
    restore: (from) => copyState(bytes, from.bytes, name),
  };
  return { region, state: state as Snapshot<unknown> };
}

/** All of them. pc-testdev's byte-wide alias of its data port (0xe8) is left out: Xen's debug port 0xe9 is in its way. */
export function testDevices(options: TestDeviceOptions, host: TestDeviceHost): Placed[] {
  const irqLines: IoRegion = {
    name: 'pc-testdev-irq-line',
    size: TESTDEV_IRQ_LINES,
    widest: 1,
    read: () => 0xff,
    write: (line, _size, value) => {
      if (line < ISA_IRQS) host.setIsaIrq(line, value !== 0);
    },
  };
  /** A page written here loses its mappings on the host, which no guest can see. */
  const flush: IoRegion = { name: 'pc-testdev-flush-page', size: 4, widest: 4, read: () => 0xffffffff, write: () => {} };
  return [
    { space: 'port', base: DEBUG_EXIT_PORT, region: debugExit((status) => host.exit(status)) },
    { space: 'port', base: FW_CFG_PORT, ...fwCfg(options) },
    { space: 'port', base: TESTDEV_IOPORT, ...memoryRegion('pc-testdev-ioport', 4) },
    { space: 'port', base: TESTDEV_FLUSH, region: flush },
    { space: 'port', base: TESTDEV_IRQ, region: irqLines },
    { space: 'memory', base: TESTDEV_IOMEM, ...memoryRegion('pc-testdev-iomem', TESTDEV_IOMEM_SIZE) },
  ];
}
