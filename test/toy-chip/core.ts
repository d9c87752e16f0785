import type { NetDevice, ReceiveResult, Wire } from '../../src/devices/interfaces.ts';
import { PciDevice, type DeviceState, type PciSlot, type PciState } from '../../src/devices/pci/pci-device.ts';
import { checkState, copyState } from '../../src/devices/state.ts';
import type { RegisterReading } from '../../src/devices/registers.ts';
import { RegisterFile } from '../../src/devices/register-file.ts';
import { lines } from './log.ts';
import { TOY_BLOCK_SIZE, toyRegisters } from './registers.ts';

export const TOY_VENDOR_ID = 0x1b36;
export const TOY_DEVICE_ID = 0x7070;
const LONGEST = 1514;

interface ToySaved extends DeviceState {
  readonly pci: PciState;
  readonly registers: Uint32Array;
  readonly sent: number;
}

export class ToyChip extends PciDevice implements NetDevice {
  readonly name = 'toy';
  private readonly wire: Wire;
  private readonly buffer = new Uint8Array(LONGEST);
  private sent = 0;
  private readonly regs = new RegisterFile(toyRegisters, TOY_BLOCK_SIZE, {
    Send: { read: () => 0, write: (bytes) => this.send(bytes) },
    Cause: {
      write: () => {
        this.regs.values[2] = 0;
        this.setIrq(false);
      },
    },
  });

  constructor(slot: PciSlot, wire: Wire) {
    const identity = { vendorId: TOY_VENDOR_ID, deviceId: TOY_DEVICE_ID, revision: 0, classCode: 0x020000, interruptPin: 1 };
    super(slot, identity, [{ index: 0, kind: 'mem', size: TOY_BLOCK_SIZE, name: 'toy-mmio' }]);
    this.wire = wire;
  }

  readBar(_bar: number, offset: number, size: number): number {
    return this.regs.read(offset, size);
  }

  writeBar(_bar: number, offset: number, size: number, value: number): void {
    this.regs.write(offset, size, value);
  }

  receive(): ReceiveResult {
    return 'dropped';
  }

  hasUnread(): boolean {
    return false;
  }

  remind(): void {}

  setLink(): void {}

  statistics(): Record<string, number> {
    return { tx_packets: this.sent, rx_packets: 0 };
  }

  registers(): readonly RegisterReading[] {
    return this.regs.readings();
  }

  save(): ToySaved {
    return { device: this.name, version: 1, pci: this.savePci(), registers: this.regs.values.slice(), sent: this.sent };
  }

  restore(state: DeviceState): void {
    const { pci, registers, sent } = checkState(state, this.save());
    copyState(this.regs.values, registers, this.name);
    this.sent = sent;
    this.restorePci(pci);
  }

  protected override resetChip(): void {
    this.regs.reset();
    this.sent = 0;
  }

  private send(size: number): void {
    const bytes = Math.min(size, LONGEST);
    const gpa = this.regs.values[0]!;
    if (this.slot.log) this.slot.log(lines.sends, { bytes, gpa });
    this.dmaRead(gpa, this.buffer, 0, bytes);
    this.sent++;
    this.wire.send(this.buffer, bytes);
    this.regs.values[2] = 1;
    this.setIrq(true);
  }
}
