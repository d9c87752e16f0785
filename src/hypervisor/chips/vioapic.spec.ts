import { describe, expect, it } from 'vitest';
import { IOAPIC_PINS, IOREDTBL, IOREDTBL_HIGH_WRITABLE, IOREDTBL_LOW_WRITABLE } from '../../abi/registers/ioapic.ts';
import { hvmPciIntxGsi } from './irq.ts';
import { platformMachine } from '../testing/platform.ts';

const IOREGSEL = 0xfec0_0000;
const IOWIN = 0xfec0_0010;

const machine = () => {
  const m = platformMachine();
  m.enableLapic();
  return m;
};

/** A redirection entry's low half. */
const entry = (fields: Record<string, number>): number => platformMachine().ioapic.value('IOREDTBL0', fields);

describe('IO-APIC', () => {
  it('shows 48 masked pins, identifier and version', () => {
    const m = machine();
    const { ioapic } = m;
    expect(ioapic.read('IOAPICID')).toBe(0);
    expect(ioapic.read('IOAPICVER')).toBe(0x2f0011);
    expect(ioapic.read('IOAPICARB')).toBe(0);
    m.mmioWrite(IOREGSEL, 0xff);
    expect(m.mmioRead(IOWIN)).toBe(0);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) expect(m.redirection(pin)).toBe(entry({ masked: 1 }));
    ioapic.write('IOAPICID', 0xffffffff);
    expect(ioapic.read('IOAPICID')).toBe(0x0f000000);
    ioapic.write('IOAPICARB', 0); // the arbitration identifier follows, and takes no write
    expect(ioapic.read('IOAPICARB')).toBe(0x0f000000);
    m.redirect(3, 0xffffffff);
    expect(m.redirection(3)).toBe(IOREDTBL_LOW_WRITABLE);
    m.mmioWrite(IOREGSEL, IOREDTBL + 2 * 3 + 1);
    m.mmioWrite(IOWIN, 0xffffffff);
    expect(m.mmioRead(IOWIN)).toBe(IOREDTBL_HIGH_WRITABLE);
    expect(m.mmioRead(IOWIN + 0x10)).toBe(0);
    expect(m.mmioRead(IOREGSEL)).toBe(IOREDTBL + 2 * 3 + 1);
  });

  it('delivers an edge once', () => {
    const m = machine();
    m.redirect(4, { vector: 0x34 });
    m.hub.isaIrqAssert(4);
    expect(m.take()).toBe(0x34);
    m.eoi();
    expect(m.take()).toBe(-1);
    expect(m.redirection(4)).toBe(entry({ vector: 0x34 }));
    m.hub.isaIrqDeassert(4);
    m.hub.isaIrqAssert(4);
    expect(m.take()).toBe(0x34);
  });

  it('delivers a level again after its end for as long as it is asserted', () => {
    const m = machine();
    const gsi = hvmPciIntxGsi(3, 0);
    m.redirect(gsi, { vector: 0x51, level: 1 });
    m.hub.setPciIntxLevel(3, 0, true);
    expect(m.ioapic.field(`IOREDTBL${gsi}`, 'remote IRR')).toBe(1);
    expect(m.take()).toBe(0x51);
    m.hub.setPciIntxLevel(3, 0, false);
    m.hub.setPciIntxLevel(3, 0, true); // a second edge before the end: nothing new
    expect(m.take()).toBe(-1);
    m.eoi();
    expect(m.take()).toBe(0x51);
    m.hub.setPciIntxLevel(3, 0, false);
    m.eoi();
    expect(m.ioapic.field(`IOREDTBL${gsi}`, 'remote IRR')).toBe(0);
    expect(m.take()).toBe(-1);
  });

  it('delivers a level that came while the pin was masked, and forgets an edge', () => {
    const m = machine();
    const gsi = hvmPciIntxGsi(3, 0);
    m.hub.setPciIntxLevel(3, 0, true);
    m.redirect(gsi, { vector: 0x51, level: 1, masked: 1 });
    expect(m.take()).toBe(-1);
    m.redirect(gsi, { vector: 0x51, level: 1 });
    expect(m.take()).toBe(0x51);
    m.hub.isaIrqAssert(6);
    m.redirect(6, { vector: 0x36 });
    expect(m.take()).toBe(-1);
  });

  it('clears remote IRR when a pin becomes edge-triggered', () => {
    const m = machine();
    m.redirect(20, { vector: 0x51, level: 1 });
    m.hub.ioapicAssert(20, true);
    expect(m.redirection(20)).toBe(entry({ vector: 0x51, level: 1, 'remote IRR': 1 }));
    m.redirect(20, { vector: 0x51, masked: 1 });
    expect(m.redirection(20)).toBe(entry({ vector: 0x51, masked: 1 }));
  });

  it('sends a vector no local APIC takes into the error register', () => {
    const m = machine();
    m.redirect(5, { vector: 5 });
    m.hub.isaIrqAssert(5);
    m.lapic.write('APIC_ESR', 0);
    expect(m.take()).toBe(-1);
    expect(m.lapic.field('APIC_ESR', 'receive illegal vector')).toBe(1);
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.redirect(28, { vector: 0x51, level: 1 });
    m.hub.setPciIntxLevel(3, 0, true);
    m.take();
    const n = platformMachine(m.memory);
    expect(n.redirection(28)).toBe(entry({ vector: 0x51, level: 1, 'remote IRR': 1 }));
    n.eoi();
    expect(n.take()).toBe(0x51);
  });
});
