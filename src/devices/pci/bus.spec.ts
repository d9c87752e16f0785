import { describe, expect, it } from 'vitest';
import { pcBus } from '../testing/pc-bus.ts';
import { setUpPci } from '../testing/firmware.ts';
import { devfn, pciLink } from './bus.ts';
import { HostBridge } from './host-bridge.ts';
import { PciDevice, type DeviceState, type PciSlot } from './pci-device.ts';
import { Piix3 } from './piix3.ts';
import { Piix4Pm } from './piix4-pm.ts';

class Card extends PciDevice {
  readonly name = 'card';
  readonly log: string[] = [];

  constructor(slot: PciSlot) {
    super(slot, { vendorId: 0x10ec, deviceId: 0x8139, revision: 0x20, classCode: 0x020000, interruptPin: 1 }, [
      { index: 0, kind: 'io', size: 256 },
      { index: 1, kind: 'mem', size: 256 },
    ]);
  }

  readBar(bar: number, offset: number, size: number): number {
    this.log.push(`r bar${bar} ${offset} ${size}`);
    return 0x11223344;
  }

  writeBar(bar: number, offset: number, size: number, value: number): void {
    this.log.push(`w bar${bar} ${offset} ${size} ${value}`);
  }

  interrupt(level: boolean): void {
    this.setIrq(level);
  }

  protected resetChip(): void {}
  save(): DeviceState {
    return { device: this.name, version: 1 };
  }
  restore(): void {}
}

function setUp() {
  const pc = pcBus();
  const events: string[] = [];
  const { bus, ports } = pc;
  bus.attach(devfn(0, 0), new HostBridge(bus.slot(devfn(0, 0)), bus, ports));
  const piix3 = new Piix3(bus.slot(devfn(1, 0)), ports, {
    setPciLinkRoute: (link, irq) => events.push(`link${link}=${irq}`),
    reset: () => events.push('reset'),
  });
  bus.attach(devfn(1, 0), piix3);
  const pm = new Piix4Pm(bus.slot(devfn(1, 3)), ports, { powerOff: () => events.push('poweroff') });
  bus.attach(devfn(1, 3), pm);
  const card = new Card(bus.slot(devfn(3, 0)));
  bus.attach(devfn(3, 0), card, { aliases: { 1: 0 } });
  const select = (device: number, fn: number, register: number): void =>
    ports.write(0xcf8, 4, (0x80000000 | (device << 11) | (fn << 8) | register) >>> 0);
  return { ...pc, events, piix3, pm, card, select };
}

describe('PCI bus', () => {
  it('configuration mechanism #1 finds functions, and ones where there is none', () => {
    const { ports, select } = setUp();
    select(3, 0, 0);
    expect(ports.read(0xcf8, 4)).toBe(0x80001800);
    expect(ports.read(0xcfc, 4)).toBe(0x813910ec);
    expect(ports.read(0xcfe, 2)).toBe(0x8139);
    select(0, 0, 0);
    expect(ports.read(0xcfc, 4)).toBe(0x12378086);
    select(9, 0, 0);
    expect(ports.read(0xcfc, 4)).toBe(0xffffffff);
    expect(ports.read(0xcfc, 2)).toBe(0xffff);
    ports.write(0xcf8, 4, 0x80010000 | (3 << 11)); // bus 1
    expect(ports.read(0xcfc, 4)).toBe(0xffffffff);
    ports.write(0xcf8, 4, 3 << 11); // not enabled
    expect(ports.read(0xcfc, 4)).toBe(0xffffffff);
  });

  it("latches CONFADD on whole writes only, with its low bits, as QEMU's bridge does", () => {
    const { ports, select } = setUp();
    select(3, 0, 2);
    expect(ports.read(0xcfc, 2)).toBe(0x8139);
    ports.write(0xcf8, 2, 0xffff);
    expect(ports.read(0xcf8, 4)).toBe(0x80001802);
  });

  it('firmware places BARs, turns decoding on and routes interrupts', () => {
    const { bus, ports, memory, card, events } = setUp();
    setUpPci(bus);
    expect(bus.configRead(devfn(3, 0), 0x10, 4)).toBe(0xc001);
    expect(bus.configRead(devfn(3, 0), 0x14, 4)).toBe(0xf0000000);
    expect(bus.configRead(devfn(3, 0), 0x3c, 1)).toBe([5, 10, 11, 5][pciLink(3, 0)]);
    expect(events).toEqual(['link0=5', 'link1=10', 'link2=11', 'link3=5']);
    ports.write(0xc010, 2, 0xabcd);
    memory.read(0xf0000020, 4);
    expect(card.log).toEqual([`w bar0 16 2 ${0xabcd}`, 'r bar1 32 4']);
    const mapping = memory.find(0xf0000020)!;
    expect(mapping.logBase()).toBe(0xc000);
  });

  it('moves a region with its BAR and drops it while decoding is off', () => {
    const { bus, memory, card } = setUp();
    setUpPci(bus);
    bus.configWrite(devfn(3, 0), 0x14, 4, 0xe0000000);
    expect(memory.find(0xf0000000)).toBeUndefined();
    expect(memory.find(0xe0000000)?.region.name).toBe('card');
    bus.configWrite(devfn(3, 0), 0x04, 2, 0);
    expect(memory.mappings).toHaveLength(0);
    expect(memory.read(0xe0000000, 4)).toBe(0xffffffff);
    expect(card.log).toHaveLength(0);
  });

  it('carries the pin of a device, gated by INTxDisable', () => {
    const { bus, card, intx } = setUp();
    card.interrupt(true);
    bus.configWrite(devfn(3, 0), 4, 2, 0x400);
    bus.configWrite(devfn(3, 0), 4, 2, 0);
    card.interrupt(false);
    expect(intx).toEqual(['3.0=1', '3.0=0', '3.0=1', '3.0=0']);
  });

  it('refuses two functions in one place', () => {
    const { bus } = setUp();
    expect(() => bus.attach(devfn(3, 0), new Card(bus.slot(devfn(3, 0))))).toThrow(/3\.0 is taken by card/);
  });
});

describe('PIIX3', () => {
  it('routes a link, or none when disabled or reserved', () => {
    const { bus, events } = setUp();
    bus.configWrite(devfn(1, 0), 0x60, 4, 0x00028b0a);
    expect(events).toEqual(['link0=10', 'link1=0', 'link2=0', 'link3=0']);
    events.length = 0;
    bus.configWrite(devfn(1, 0), 0x64, 4, 0);
    expect(events).toEqual([]);
  });

  it('resets by port 0xcf9 and by the keyboard controller', () => {
    const { ports, events } = setUp();
    ports.write(0xcf9, 1, 2);
    expect(ports.read(0xcf9, 1)).toBe(2);
    expect(events).toEqual([]);
    ports.write(0xcf9, 1, 6);
    ports.write(0x64, 1, 0xfe);
    expect(events).toEqual(['reset', 'reset']);
    expect(ports.read(0x64, 1)).toBe(0xff);
  });

  it('keeps its state', () => {
    const a = setUp();
    a.bus.configWrite(devfn(1, 0), 0x61, 1, 11);
    a.ports.write(0xcf9, 1, 2);
    const b = setUp();
    b.piix3.restore(structuredClone(a.piix3.save()));
    expect(b.piix3.save()).toEqual(a.piix3.save());
    expect(b.events).toContain('link1=11');
    expect(() => b.piix3.restore({ device: 'PIIX3', version: 9 })).toThrow(/version 9/);
  });
});

describe('PIIX4 power management', () => {
  it('turns the machine off by SLP_TYP 0 and SLP_EN, and keeps SCI_EN', () => {
    const { bus, ports, events } = setUp();
    expect(ports.read(0xb004, 2)).toBe(0xffff);
    setUpPci(bus);
    events.length = 0;
    expect(ports.read(0xb004, 2)).toBe(1);
    ports.write(0xb004, 2, 0x1c01);
    expect(events).toEqual([]);
    ports.write(0xb005, 1, 0x20);
    expect(events).toEqual(['poweroff']);
    expect(ports.read(0xb004, 2)).toBe(1);
  });

  it('leaves the event block and the timer to the hypervisor', () => {
    const { bus, ports } = setUp();
    setUpPci(bus);
    expect(ports.find(0xb000)).toBeUndefined();
    expect(ports.find(0xb008)).toBeUndefined();
  });

  it('goes with its block, and a reset takes it away', () => {
    const { bus, ports, pm } = setUp();
    setUpPci(bus);
    bus.configWrite(devfn(1, 3), 0x40, 4, 0x1f41);
    expect(ports.find(0x1f44)?.region.name).toBe('acpi-cnt');
    const other = setUp();
    other.pm.restore(pm.save());
    expect(other.ports.find(0x1f44)?.region.name).toBe('acpi-cnt');
    bus.reset();
    expect(ports.find(0x1f44)).toBeUndefined();
  });
});
