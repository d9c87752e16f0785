import { describe, expect, it } from 'vitest';
import { PciConfigSpace, type BarDef } from './config-space.ts';
import { checkState } from '../state.ts';
import { PciDevice, type DeviceState, type PciState } from './pci-device.ts';
import { RamWindow, StepClock } from '../conformance/test-bus.ts';

const bars: BarDef[] = [
  { index: 0, kind: 'io', size: 256 },
  { index: 1, kind: 'mem', size: 4096 },
];

class Probe extends PciDevice {
  override readonly name = 'probe';
  override readBar(): number {
    return 0;
  }
  override writeBar(): void {}
  protected override resetChip(): void {}
  override save(): DeviceState & { pci: PciState } {
    return { device: this.name, version: 1, pci: this.savePci() };
  }
  override restore(state: DeviceState): void {
    this.restorePci(checkState(state, this.save()).pci);
  }
  irq(level: boolean): void {
    this.setIrq(level);
  }
  fetch(gpa: number): [boolean, number] {
    const byte = new Uint8Array([0x77]);
    return [this.dmaRead(gpa, byte, 0, 1), byte[0]!];
  }
  store(gpa: number): boolean {
    return this.dmaWrite(gpa, new Uint8Array([0x99]), 0, 1);
  }
}

function setUp() {
  const edges: boolean[] = [];
  const ram = new RamWindow(0x1000, 16);
  const device = new Probe(
    { dma: ram, clock: new StepClock(), setIrq: (level) => edges.push(level) },
    { vendorId: 0x10ec, deviceId: 0x8139, revision: 0x20, classCode: 0x020000, interruptPin: 1 },
    bars,
  );
  return { device, edges, ram };
}

describe('PCI configuration space', () => {
  it('sizes BARs by ones and decodes them when Command allows', () => {
    let changes = 0;
    const config = new PciConfigSpace({ vendorId: 0x10ec, deviceId: 0x8139, revision: 0x20, classCode: 0x020000 }, bars);
    config.decodeChanges.add(() => changes++);
    expect(config.read(0, 4)).toBe(0x813910ec);
    expect(config.read(8, 4)).toBe(0x02000020);
    for (const at of [0x10, 0x14, 0x18]) config.write(at, 4, 0xffffffff);
    expect([0x10, 0x14, 0x18].map((at) => config.read(at, 4))).toEqual([0xffffff01, 0xfffff000, 0]);
    expect(config.barBase(bars[0]!)).toBe(-1);
    config.write(4, 2, 3);
    expect(config.barBase(bars[0]!)).toBe(-1);
    config.write(0x10, 4, 0xc123);
    config.write(0x14, 4, 0xe0001234);
    expect(bars.map((bar) => config.barBase(bar))).toEqual([0xc100, 0xe0001000]);
    config.write(4, 2, 2);
    expect(bars.map((bar) => config.barBase(bar))).toEqual([-1, 0xe0001000]);
    const before = changes;
    config.write(0x3c, 1, 11);
    expect([config.read(0x3c, 1), changes]).toEqual([11, before]);
    config.reset();
    expect([config.read(4, 2), config.read(0x10, 4), config.read(0x3c, 1)]).toEqual([0, 1, 0]);
  });

  it('takes nothing past its end', () => {
    const config = new PciConfigSpace({ vendorId: 1, deviceId: 2, revision: 3, classCode: 4 });
    config.write(254, 4, 0x11223344);
    expect(config.read(254, 4)).toBe(0xffff3344);
  });
});

describe('PCI function', () => {
  it('holds INTx low while INTxDisable is set, and keeps Status telling', () => {
    const { device, edges } = setUp();
    device.irq(true);
    device.irq(true);
    expect([edges, device.readConfig(6, 2)]).toEqual([[true], 8]);
    device.writeConfig(4, 2, 0x400);
    expect([edges, device.readConfig(6, 2)]).toEqual([[true, false], 8]);
    device.writeConfig(4, 2, 0);
    device.irq(false);
    expect([edges, device.readConfig(6, 2)]).toEqual([[true, false, true, false], 0]);
  });

  it('does no DMA with bus mastering off', () => {
    const { device, ram } = setUp();
    ram.bytes.fill(0x55);
    expect([device.fetch(0x1000), device.store(0x1000), ram.accesses]).toEqual([[false, 0], false, 0]);
    device.writeConfig(4, 2, 4);
    expect([device.fetch(0x1000), device.store(0x1001), ram.bytes[1]]).toEqual([[true, 0x55], true, 0x99]);
    expect(device.fetch(0x1010)).toEqual([false, 0]);
    expect(device.store(0x1010)).toBe(false);
  });

  it('restores pin and decoding', () => {
    const one = setUp();
    one.device.writeConfig(4, 2, 7);
    one.device.irq(true);
    const two = setUp();
    two.device.restore(structuredClone(one.device.save()));
    expect([two.edges, two.device.readConfig(4, 4)]).toEqual([[true], 0x00080007]);
  });
});
