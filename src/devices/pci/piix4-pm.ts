/**
 * PIIX4 (82371AB) function 3, power management, as far as it is the device model's under Xen: the PM1a control
 * register. The PM1a event block and the PM timer of the same port block are the hypervisor's.
 * Sources: Intel 82371AB data sheet (290562), chapter 7; ACPI specification 6.4, 4.8.3.2.
 */
import { plain } from '../../base/log-line.ts';
import type { IoMapping, IoRegion, IoSpace } from '../io-space.ts';
import type { RegisterDef } from '../registers.ts';
import { checkState } from '../state.ts';
import { PciDevice, type DeviceState, type PciSlot, type PciState } from './pci-device.ts';

/** Configuration registers. */
export const PMBA = 0x40;
export const PMREGMISC = 0x80;
const PMIOSE = 0x01;

/** Where PM1a_CNT lies in the port block. */
const PM1_CONTROL_OFFSET = 4;
const SCI_EN = 0x0001;
const SLP_TYP_SHIFT = 10;
const SLP_EN = 0x2000;
/** Sleep types of this chip's _S5 and of the hibernation that ends like it. */
const SLP_TYP_SOFT_OFF = 0;
const SLP_TYP_SUSPEND_TO_RAM = 1;
const SLP_TYP_SUSPEND_TO_DISK = 2;

export const piix4PmRegisters = [
  {
    name: 'PM1a_CNT',
    offset: PM1_CONTROL_OFFSET,
    width: 2,
    access: 'rw',
    reset: SCI_EN,
    writable: 0xffff & ~SLP_EN,
    doc: 'ACPI power management 1a control',
    fields: [
      { name: 'SCI_EN', lsb: 0, doc: 'Power management events raise SCI' },
      { name: 'BM_RLD', lsb: 1 },
      { name: 'GBL_RLS', lsb: 2 },
      { name: 'SLP_TYP', lsb: SLP_TYP_SHIFT, bits: 3, values: { 0: 'S5', 1: 'S3', 2: 'S4' } },
      { name: 'SLP_EN', lsb: 13, doc: 'Written as one: enter the sleeping state SLP_TYP; reads zero' },
    ],
  },
] as const satisfies readonly RegisterDef[];

const noSuspend = plain('Xenolith', 'PIIX4_PM: suspend to RAM is not offered');

interface Piix4PmWires {
  /** Software turned the machine off. */
  readonly powerOff: () => void;
}

interface Piix4PmState extends DeviceState, PciState {
  /** PM1a_CNT. */
  readonly control: number;
}

export class Piix4Pm extends PciDevice {
  readonly name = 'PIIX4_PM';
  private readonly ports: IoSpace;
  private readonly wires: Piix4PmWires;
  private readonly control: IoRegion;
  private mapping: IoMapping | undefined;
  private value = SCI_EN;

  constructor(slot: PciSlot, ports: IoSpace, wires: Piix4PmWires) {
    super(slot, { vendorId: 0x8086, deviceId: 0x7113, revision: 3, classCode: 0x068000, interruptPin: 1 }, []);
    this.ports = ports;
    this.wires = wires;
    this.config.bytes[PMBA] = 1;
    this.config.writable.set([0xc0, 0xff, 0, 0], PMBA);
    this.control = {
      name: 'acpi-cnt',
      size: 2,
      widest: 2,
      read: (offset, size) => (this.value >>> (offset * 8)) & (size === 2 ? 0xffff : 0xff),
      write: (offset, size, value) => {
        const mask = (size === 2 ? 0xffff : 0xff) << (offset * 8);
        this.write((this.value & ~mask) | ((value << (offset * 8)) & mask));
      },
    };
  }

  private write(value: number): void {
    this.value = value & ~SLP_EN;
    if (!(value & SLP_EN)) return;
    const type = (value >>> SLP_TYP_SHIFT) & 7;
    if (type === SLP_TYP_SOFT_OFF || type === SLP_TYP_SUSPEND_TO_DISK) this.wires.powerOff();
    else if (type === SLP_TYP_SUSPEND_TO_RAM) this.slot.log?.(noSuspend, {});
  }

  override writeConfig(offset: number, size: number, value: number): void {
    super.writeConfig(offset, size, value);
    this.decode();
  }

  private decode(): void {
    const base = this.config.read(PMBA, 2) & 0xffc0;
    const wanted = this.config.bytes[PMREGMISC]! & PMIOSE && base !== 0 ? base + PM1_CONTROL_OFFSET : -1;
    if (wanted === (this.mapping?.base ?? -1)) return;
    if (this.mapping) this.ports.remove(this.mapping);
    this.mapping = wanted < 0 ? undefined : this.ports.add(this.control, wanted);
  }

  readBar(): number {
    return 0xffffffff;
  }

  writeBar(): void {}

  protected resetChip(): void {
    this.config.set(PMBA, 4, 1);
    this.config.bytes[PMREGMISC] = 0;
    this.value = SCI_EN;
    this.decode();
  }

  save(): Piix4PmState {
    return { device: this.name, version: 1, ...this.savePci(), control: this.value };
  }

  restore(state: DeviceState): void {
    const saved = checkState(state, this.save());
    this.restorePci(saved);
    this.value = saved.control;
    this.decode();
  }
}
