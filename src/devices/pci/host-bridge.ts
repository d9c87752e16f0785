/**
 * The 440FX host bridge (82441FX PMC) as far as software that finds a PCI bus needs it: its configuration header
 * and configuration mechanism #1 at ports 0xcf8 and 0xcfc.
 * Sources: Intel 440FX PCIset data sheet (290549), section 3.1; PCI Local Bus Specification 3.0, 3.2.2.3.2.
 */
import { widthMask } from '../registers.ts';
import type { IoRegion, IoSpace } from '../io-space.ts';
import type { RegisterDef } from '../registers.ts';
import { checkState } from '../state.ts';
import type { PciBus } from './bus.ts';
import { PciDevice, type DeviceState, type PciSlot, type PciState } from './pci-device.ts';

const CONFIG_ADDRESS_PORT = 0xcf8;
const CONFIG_DATA_PORT = 0xcfc;

export const hostBridgePorts = [
  {
    name: 'CONFADD',
    offset: 0,
    width: 4,
    access: 'rw',
    reset: 0,
    doc: 'Which configuration register CONFDATA reaches (port 0xcf8; 4-byte accesses only)',
    fields: [
      { name: 'Register', lsb: 0, bits: 8 },
      { name: 'Function', lsb: 8, bits: 3 },
      { name: 'Device', lsb: 11, bits: 5 },
      { name: 'Bus', lsb: 16, bits: 8 },
      { name: 'Enable', lsb: 31 },
    ],
  },
  { name: 'CONFDATA', offset: 4, width: 4, access: 'rw', doc: 'The configuration register itself (port 0xcfc)' },
] as const satisfies readonly RegisterDef[];

interface HostBridgeState extends DeviceState, PciState {
  /** CONFIG_ADDRESS. */
  readonly address: number;
}

export class HostBridge extends PciDevice {
  readonly name = 'i440FX';
  private readonly bus: PciBus;
  private address = 0;

  constructor(slot: PciSlot, bus: PciBus, ports: IoSpace) {
    super(slot, { vendorId: 0x8086, deviceId: 0x1237, revision: 2, classCode: 0x060000 }, []);
    this.bus = bus;
    // The low two bits of CONFADD stay as written: QEMU's bridge takes them into the register number, and its tests rely on it.
    const index: IoRegion = {
      name: 'pci-conf-idx',
      size: 4,
      widest: 4,
      read: (offset, size) => (offset === 0 && size === 4 ? this.address : widthMask(size)),
      write: (offset, size, value) => {
        if (offset === 0 && size === 4) this.address = value;
      },
    };
    const data: IoRegion = {
      name: 'pci-conf-data',
      size: 4,
      widest: 4,
      read: (offset, size) => (this.enabled ? this.bus.configRead(this.target, this.register(offset), size) : 0xffffffff),
      write: (offset, size, value) => {
        if (this.enabled) this.bus.configWrite(this.target, this.register(offset), size, value);
      },
    };
    ports.add(index, CONFIG_ADDRESS_PORT);
    ports.add(data, CONFIG_DATA_PORT);
  }

  /** Enabled, and for bus 0: nothing is on any other bus. */
  private get enabled(): boolean {
    return this.address >>> 31 === 1;
  }

  /** Device and function; a place that no function has (0x100 and up) for another bus. */
  private get target(): number {
    return (this.address >>> 8) & 0xffff;
  }

  private register(offset: number): number {
    return (this.address & 0xff) | offset;
  }

  readBar(): number {
    return 0xffffffff;
  }

  writeBar(): void {}

  protected resetChip(): void {
    this.address = 0;
  }

  save(): HostBridgeState {
    return { device: this.name, version: 1, ...this.savePci(), address: this.address };
  }

  restore(state: DeviceState): void {
    const saved = checkState(state, this.save());
    this.restorePci(saved);
    this.address = saved.address;
  }
}
