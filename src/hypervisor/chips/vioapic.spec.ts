import { describe, expect, it } from 'vitest';
import { IOAPIC_PINS } from '../../abi/registers/ioapic.ts';
import { hvmPciIntxGsi } from './irq.ts';
import { platformMachine } from '../testing/platform.ts';

const LEVEL = 0x8000;
const MASKED = 0x10000;
const REMOTE_IRR = 0x4000;

const machine = () => {
  const m = platformMachine();
  m.mmioWrite(0xfee000f0, 0x1ff);
  return m;
};

describe('IO-APIC', () => {
  it('shows 48 masked pins, identifier and version', () => {
    const m = machine();
    const window = (index: number): number => {
      m.mmioWrite(0xfec00000, index);
      return m.mmioRead(0xfec00010);
    };
    expect(window(0)).toBe(0);
    expect(window(1)).toBe(0x2f0011);
    expect(window(2)).toBe(0);
    expect(window(0xff)).toBe(0);
    for (let pin = 0; pin < IOAPIC_PINS; pin++) expect(window(0x10 + pin * 2)).toBe(MASKED);
    m.mmioWrite(0xfec00000, 0);
    m.mmioWrite(0xfec00010, 0xffffffff);
    expect(m.mmioRead(0xfec00010)).toBe(0x0f000000);
    m.mmioWrite(0xfec00000, 2); // the arbitration identifier follows, and takes no write
    m.mmioWrite(0xfec00010, 0);
    expect(m.mmioRead(0xfec00010)).toBe(0x0f000000);
    m.redirect(3, 0xffffffff);
    expect(m.redirection(3)).toBe(0x1afff);
    m.mmioWrite(0xfec00000, 0x11 + 6);
    m.mmioWrite(0xfec00010, 0xffffffff);
    expect(m.mmioRead(0xfec00010)).toBe(0xff000000);
    expect(m.mmioRead(0xfec00020)).toBe(0);
    expect(m.mmioRead(0xfec00000)).toBe(0x17);
  });

  it('delivers an edge once', () => {
    const m = machine();
    m.redirect(4, 0x34);
    m.hub.isaIrqAssert(4);
    expect(m.take()).toBe(0x34);
    m.eoi();
    expect(m.take()).toBe(-1);
    expect(m.redirection(4)).toBe(0x34);
    m.hub.isaIrqDeassert(4);
    m.hub.isaIrqAssert(4);
    expect(m.take()).toBe(0x34);
  });

  it('delivers a level again after its end for as long as it is asserted', () => {
    const m = machine();
    const gsi = hvmPciIntxGsi(3, 0);
    m.redirect(gsi, LEVEL | 0x51);
    m.hub.setPciIntxLevel(3, 0, true);
    expect(m.redirection(gsi) & REMOTE_IRR).toBe(REMOTE_IRR);
    expect(m.take()).toBe(0x51);
    m.hub.setPciIntxLevel(3, 0, false);
    m.hub.setPciIntxLevel(3, 0, true); // a second edge before the end: nothing new
    expect(m.take()).toBe(-1);
    m.eoi();
    expect(m.take()).toBe(0x51);
    m.hub.setPciIntxLevel(3, 0, false);
    m.eoi();
    expect(m.redirection(gsi) & REMOTE_IRR).toBe(0);
    expect(m.take()).toBe(-1);
  });

  it('delivers a level that came while the pin was masked, and forgets an edge', () => {
    const m = machine();
    const gsi = hvmPciIntxGsi(3, 0);
    m.hub.setPciIntxLevel(3, 0, true);
    m.redirect(gsi, LEVEL | MASKED | 0x51);
    expect(m.take()).toBe(-1);
    m.redirect(gsi, LEVEL | 0x51);
    expect(m.take()).toBe(0x51);
    m.hub.isaIrqAssert(6);
    m.redirect(6, 0x36);
    expect(m.take()).toBe(-1);
  });

  it('clears remote IRR when a pin becomes edge-triggered', () => {
    const m = machine();
    m.redirect(20, LEVEL | 0x51);
    m.hub.ioapicAssert(20, true);
    expect(m.redirection(20)).toBe(LEVEL | REMOTE_IRR | 0x51);
    m.redirect(20, MASKED | 0x51);
    expect(m.redirection(20)).toBe(MASKED | 0x51);
  });

  it('sends a vector no local APIC takes into the error register', () => {
    const m = machine();
    m.redirect(5, 0x05);
    m.hub.isaIrqAssert(5);
    m.mmioWrite(0xfee00280, 0);
    expect(m.take()).toBe(-1);
    expect(m.mmioRead(0xfee00280)).toBe(0x40);
  });

  it('goes on from machine memory alone', () => {
    const m = machine();
    m.redirect(28, LEVEL | 0x51);
    m.hub.setPciIntxLevel(3, 0, true);
    m.take();
    const n = platformMachine(m.memory);
    expect(n.redirection(28)).toBe(LEVEL | REMOTE_IRR | 0x51);
    n.eoi();
    expect(n.take()).toBe(0x51);
  });
});
